"""The commands of `voltpipe`. Heavy imports are made inside the commands, so that `--help` is fast."""

import sys
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from voltpipe.cli.settings_options import settings_from_options, settings_options
from voltpipe.errors import VoltpipeError
from voltpipe.forecasting.search.settings import SearchSettings
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.simulation.settings import Preparation, RawFormat, SimulationSettings
from voltpipe.tracking.settings import ChampionSettings, ReproductionSettings

_EXISTING = click.Path(exists=True, path_type=Path)
_MODEL = "voltage-forecaster@champion"


class _Group(click.Group):
    """A command group that prints errors meant for the user as one message, without a stack trace."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VoltpipeError as error:
            click.echo(f"voltpipe: {error}", err=True)
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="voltpipe")
def main() -> None:
    """Train and operate voltage forecasters for neural tissue.

    All data is kept in the data lake: data_lake/, or the folder named by VOLTPIPE_DATA_LAKE.
    """


@main.command("simulate")
@click.argument("preparation", type=click.Choice([preparation.value for preparation in Preparation]))
@click.option("--organoid", required=True, help="Organoid under which the recordings are stored.")
@settings_options(SimulationSettings, leave_out=("preparation",))
@click.option(
    "--file-format",
    type=click.Choice([file_format.value for file_format in RawFormat]),
    default=RawFormat.NWB.value,
    show_default=True,
    help="File format: nwb, or the published text format.",
)
def simulate_command(preparation: str, organoid: str, file_format: str, **options: Any) -> None:
    """Simulate raw recordings of a reference preparation into the lake.

    With brunel, each recording has a new network, as published, and becomes an organoid of its own (ORGANOID_000,
    ORGANOID_001, ...). With organoid, one network is recorded several times.
    """
    from voltpipe.simulation.raw_files import write_raw_files

    settings = settings_from_options(SimulationSettings, options, preparation=preparation)
    for path in write_raw_files(settings, Lake.default(), organoid, RawFormat(file_format)):
        click.echo(path)


@main.command("ingest")
@click.argument("files", nargs=-1, required=True, type=_EXISTING, metavar="FILE...")
@click.option("--organoid", required=True, help="Organoid under which the recordings are stored.")
@click.option(
    "--name", help="Name of the recording in the lake. Default: the file name. Required for MaxWell's data.raw.h5."
)
@settings_options(Hints, leave_out=("conditioning",))
@settings_options(ConditioningSettings)
def ingest_command(files: tuple[Path, ...], organoid: str, name: str | None, **options: Any) -> None:
    """Copy recordings into the lake and condition them.

    The first options are hints: they supply metadata that a file lacks, or correct it. The options from --profile
    onward set the conditioning. The given options are stored in a sidecar next to each raw file. A recording that fails
    a required check is quarantined, with the reason. Then the exit status is 1; the other recordings are still
    conditioned.
    """
    from voltpipe.cli.ingest_files import ingest_files

    if name is not None and len(files) > 1:
        raise click.UsageError(f"--name was given with {len(files)} files. Give one FILE, or leave out --name.")
    hints = settings_from_options(Hints, options, conditioning=settings_from_options(ConditioningSettings, options))
    lake = Lake.default()
    results = ingest_files(lake, files, organoid, hints, name)
    for result in results:
        click.echo(result.line, err=not result.usable)
    if lake.page.exists():
        click.echo(f"all recordings: {lake.page}")
    sys.exit(0 if all(result.usable for result in results) else 1)


@main.command("train")
@click.option("--organoid", help="Organoid whose recordings are used. Default: all organoids.")
@settings_options(TrainingSettings)
def train_command(organoid: str | None, **options: Any) -> None:
    """Train a forecaster on the conditioned recordings, evaluate it, register it, and review it for promotion.

    The training runs in Dagster, so `voltpipe up` shows it with its assets. After an interruption, repeat the command
    to resume from the last epoch.
    """
    from voltpipe.cli.train_and_register import train_and_register

    settings = settings_from_options(TrainingSettings, options)
    click.echo(train_and_register(Lake.default(), settings, organoid))


@main.command("search")
@click.option("--organoid", help="Organoid whose recordings are used. Default: all organoids.")
@settings_options(SearchSettings)
def search_command(organoid: str | None, **options: Any) -> None:
    """Search for the training settings with the lowest validation loss. Each trial is a training.

    Learning rate, weight decay, batch size, windows per epoch and noise are searched unless they are set. Repeat the
    command to resume an interrupted search. Raise --trials to extend a finished one.
    """
    from voltpipe.cli.train_and_register import search_settings

    settings = settings_from_options(SearchSettings, options)
    click.echo(search_settings(Lake.default(), settings, organoid))


@main.command()
@click.argument("file", type=_EXISTING)
@click.option("--model", default=_MODEL, show_default=True, help="Registered forecaster, or a folder that holds one.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="F.parquet", help="Parquet file to write."
)
@click.option("--every-ms", type=float, default=10.0, show_default=True, help="Interval between forecasts, in ms.")
@click.option("--organoid", help="Recorded organoid. Default: the one that the forecaster was trained on.")
@click.option(
    "--adapt-ms",
    type=click.FloatRange(min=0, min_open=True),
    help="Length of the recording's beginning, in ms, from which connectivity is estimated before forecasting.",
)
@settings_options(ChampionSettings)
@settings_options(Hints, leave_out=("conditioning",))
def forecast(
    file: Path, model: str, out: Path, every_ms: float, organoid: str | None, adapt_ms: float | None, **options: Any
) -> None:
    """Forecast a recording in mV. The table has one row for each time, channel and horizon.

    FILE is a raw recording or a conditioned one from the lake. A raw recording is conditioned like the forecaster's
    training data: filter, resampling, common reference, blanking. Samples that conditioning leaves
    out are not used.

    For an organoid that the forecaster was not trained on, no connectivity is assumed. With --adapt-ms, its
    connectivity is estimated from the beginning of the recording. The options from --unit onward are hints: they
    supply metadata that the file lacks, or correct it.
    """
    from voltpipe.inference.forecast_file import forecast_file
    from voltpipe.tracking.model_registry import load_forecaster

    hints = settings_from_options(Hints, options)
    with warnings.catch_warnings(record=True) as caught:
        forecaster = load_forecaster(model, settings=settings_from_options(ChampionSettings, options))
    for warning in caught:
        click.echo(f"voltpipe: {warning.message}", err=True)
    made = forecast_file(forecaster, file, hints, out, every_ms=every_ms, organoid=organoid, adapt_ms=adapt_ms)
    click.echo(f"{made.rows:,} forecasts in {out}")
    if made.notice and made.notice.warns:
        click.echo(f"voltpipe: be careful with the forecasts of {file.name}: {made.notice.text}", err=True)


@main.command("reproduce")
@click.argument("version")
@settings_options(ReproductionSettings)
def reproduce_command(version: str, **options: Any) -> None:
    """Repeat the training of a registered forecaster and compare the results. The exit status is 1 if they differ.

    VERSION is a number or an alias, such as champion. Its conditioned recordings must be unchanged. The window set and
    the training are repeated in a scratch folder, with the same seed, epochs and windows but without a time limit. On
    the same processor with the same libraries, a CPU training must give identical weights. Otherwise R2 must agree
    within the tolerance.
    """
    from voltpipe.pipeline.progress_listeners import TerminalProgress
    from voltpipe.tracking.mlflow_store import TrackingStore
    from voltpipe.tracking.reproduce import reproduce

    lake = Lake.default()
    settings = settings_from_options(ReproductionSettings, options)
    same = True
    for comparison in reproduce(lake, TrackingStore.of(lake), version, settings, TerminalProgress()):
        click.echo(comparison.line)
        same &= comparison.matches
    click.echo(f"version {version} {'is reproduced' if same else 'is NOT reproduced'}")
    sys.exit(0 if same else 1)


@main.command()
@click.argument("version", required=False)
@click.option("--why", required=True, help="Reason, stored in the audit log and the version's tags.")
def rollback(version: str | None, why: str) -> None:
    """Make the previous champion, or the former champion VERSION, champion again.

    Forecasts come from it at once. The version that it replaces becomes `previous`. Only another rollback, not a
    promotion review, can make the replaced version champion again.
    """
    from voltpipe.tracking.audit_log import current_user
    from voltpipe.tracking.mlflow_store import TrackingStore
    from voltpipe.tracking.promotion import roll_back

    click.echo(roll_back(TrackingStore.of(Lake.default()), to=version, who=current_user(), why=why).line)


@main.command()
def history() -> None:
    """Show the audit log: each promotion, refusal and rollback, with author, time and reason."""
    from voltpipe.tracking.audit_log import AuditLog
    from voltpipe.tracking.mlflow_store import TrackingStore

    lines = [entry.line for entry in AuditLog.of(TrackingStore.of(Lake.default())).entries()]
    click.echo("\n".join(lines) or "No version has been reviewed for promotion. `voltpipe train` registers one.")


@main.command()
@click.argument("versions", nargs=-1, required=True, metavar="VERSION VERSION...")
@click.option(
    "--window-set", default="", metavar="DIGEST", help="Digest, or its first characters, of the window set to score on."
)
def compare(versions: tuple[str, ...], window_set: str) -> None:
    """Compare registered forecasters on held-out recordings that none was trained on, and write a report.

    A VERSION is a number or an alias, such as champion. Each later version is compared with the first.
    """
    from voltpipe.tracking.compare_versions import compare_registered
    from voltpipe.tracking.mlflow_store import TrackingStore

    lake = Lake.default()
    page, verdicts = compare_registered(lake, TrackingStore.of(lake), versions, window_set)
    for verdict in verdicts:
        click.echo(verdict)
    click.echo(page)


@main.command()
@click.argument("key", metavar="ORGANOID--RECORDING")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="F.nwb", help="NWB file to write.")
@click.option("--session-start", type=click.DateTime(), required=True, help="Start of the recording, in UTC.")
@click.option("--species", required=True, help="Latin name of the species, e.g. 'Homo sapiens'.")
@click.option("--age", required=True, help="Age of the organoid as an ISO 8601 duration, e.g. P90D for 90 days.")
@click.option(
    "--forecast", type=_EXISTING, metavar="F.parquet", help="Forecasts to include, as written by `voltpipe forecast`."
)
def export(key: str, out: Path, session_start: datetime, species: str, age: str, forecast: Path | None) -> None:
    """Export a conditioned recording, and optionally its forecasts, as NWB."""
    from voltpipe.recordings.store.conditioned_recording import open_conditioned
    from voltpipe.recordings.store.nwb_export import export_nwb

    recording = open_conditioned(Lake.default().conditioned_path(RecordingKey.parse(key)))
    export_nwb(recording, out, session_start=session_start, species=species, age=age, forecast=forecast)
    click.echo(out)


@main.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. With any address but loopback, other machines can use the servers without login.",
)
@click.option("--dagster-port", type=int, default=3000, show_default=True, help="Port of Dagster's web UI.")
@click.option("--mlflow-port", type=int, default=5000, show_default=True, help="Port of MLflow's web UI.")
def up(host: str, dagster_port: int, mlflow_port: int) -> None:
    """Serve Dagster (web UI and daemon) and MLflow until Ctrl-C."""
    from voltpipe.cli.servers import serve

    serve(Lake.default(), host=host, dagster_port=dagster_port, mlflow_port=mlflow_port)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that `voltpipe up` would listen on.")
@click.option("--dagster-port", type=int, default=3000, show_default=True, help="Port of Dagster's web UI.")
@click.option("--mlflow-port", type=int, default=5000, show_default=True, help="Port of MLflow's web UI.")
def doctor(host: str, dagster_port: int, mlflow_port: int) -> None:
    """Check the lake and this machine; report problems and how to fix them. Missing stores are created.

    The exit status is 1 if there is a problem.
    """
    from voltpipe.cli.doctor import run_checks

    results = run_checks(Lake.default(), host=host, ports={"Dagster": dagster_port, "MLflow": mlflow_port})
    for result in results:
        click.echo(result.line)
    sys.exit(0 if all(result.healthy for result in results) else 1)


@main.command()
def demo() -> None:
    """Simulate an organoid, run its recordings through the whole pipeline, and show the scores of three forecasters."""
    from voltpipe.cli.demo import run_demo

    run_demo(Lake.default())
