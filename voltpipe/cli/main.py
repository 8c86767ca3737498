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

    All data is kept in the data lake: data_lake/, or the folder named by the environment variable
    VOLTPIPE_DATA_LAKE.
    """


@main.command("simulate", short_help="Write simulated raw recordings to the lake.")
@click.argument("preparation", type=click.Choice([preparation.value for preparation in Preparation]))
@click.option("--organoid", required=True, help="Name to give to the simulated organoid.")
@settings_options(SimulationSettings, leave_out=("preparation",))
@click.option(
    "--file-format",
    type=click.Choice([file_format.value for file_format in RawFormat]),
    default=RawFormat.NWB.value,
    show_default=True,
    help="File format: nwb, or text for the format of the published work.",
)
def simulate_command(preparation: str, organoid: str, file_format: str, **options: Any) -> None:
    """Simulate a reference preparation and write its raw recordings to the lake.

    organoid: one network, recorded several times. brunel: the networks of the published work. With brunel, each
    recording comes from a new network and is stored as a separate organoid, with the suffix _000, _001, ...
    """
    from voltpipe.simulation.raw_files import write_raw_files

    settings = settings_from_options(SimulationSettings, options, preparation=preparation)
    for path in write_raw_files(settings, Lake.default(), organoid, RawFormat(file_format)):
        click.echo(path)


@main.command("ingest", short_help="Copy recordings into the lake and condition them.")
@click.argument("files", nargs=-1, required=True, type=_EXISTING, metavar="FILE...")
@click.option("--organoid", required=True, help="Name of the organoid that was recorded.")
@click.option(
    "--name", help="Name of the recording in the lake. Default: the file name. Required for MaxWell's data.raw.h5."
)
@settings_options(Hints, leave_out=("conditioning",))
@settings_options(ConditioningSettings)
def ingest_command(files: tuple[Path, ...], organoid: str, name: str | None, **options: Any) -> None:
    """Copy recordings into the lake and condition them.

    Conditioning checks, filters and normalizes a recording. The options from --unit to --preparation are hints: they
    supply missing metadata, or override what the file says. The options from --profile onward set the conditioning. The
    options that you give are stored in a sidecar (a YAML file) next to each raw file. A recording that fails a required
    check is quarantined, with the reason. In that case the exit status is 1, but the other recordings are still
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


@main.command("train", short_help="Train, evaluate and register a forecaster.")
@click.option("--organoid", help="Organoid whose recordings are used. Default: all organoids.")
@settings_options(TrainingSettings)
def train_command(organoid: str | None, **options: Any) -> None:
    """Train a forecaster on the conditioned recordings, evaluate and register it, and make it champion if it wins.

    Training runs in Dagster, so you can follow it in the web UI that `voltpipe up` starts. After an interruption,
    repeat the command to resume from the last completed epoch.
    """
    from voltpipe.cli.train_and_register import train_and_register

    settings = settings_from_options(TrainingSettings, options)
    click.echo(train_and_register(Lake.default(), settings, organoid))


@main.command("search", short_help="Search for the best training settings.")
@click.option("--organoid", help="Organoid whose recordings are used. Default: all organoids.")
@settings_options(SearchSettings)
def search_command(organoid: str | None, **options: Any) -> None:
    """Search for the training settings with the lowest validation loss. Each trial trains one model.

    The search varies the learning rate, weight decay, batch size, windows per epoch and input noise, unless you set
    them. Repeat the command to resume an interrupted search. Raise --trials to extend a finished one.
    """
    from voltpipe.cli.train_and_register import search_settings

    settings = settings_from_options(SearchSettings, options)
    click.echo(search_settings(Lake.default(), settings, organoid))


@main.command(short_help="Forecast the voltages of a recording.")
@click.argument("file", type=_EXISTING)
@click.option("--model", default=_MODEL, show_default=True, help="Registered forecaster, or a folder with one.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="F.parquet", help="Parquet file to write."
)
@click.option("--every-ms", type=float, default=10.0, show_default=True, help="Interval between forecasts, in ms.")
@click.option("--organoid", help="Organoid that was recorded. Default: the training organoid, if there is only one.")
@click.option(
    "--adapt-ms",
    type=click.FloatRange(min=0, min_open=True),
    help="Estimate connectivity from this many ms at the beginning of the recording before forecasting.",
)
@settings_options(ChampionSettings)
@settings_options(Hints, leave_out=("conditioning",))
def forecast(
    file: Path, model: str, out: Path, every_ms: float, organoid: str | None, adapt_ms: float | None, **options: Any
) -> None:
    """Forecast the voltages of a recording, in mV.

    The output is a table with one row for each time, channel and horizon (how far ahead the forecast is). FILE is
    either a raw recording, or a conditioned recording from the lake. A raw recording is conditioned in the same way as
    the forecaster's training data (filtering, resampling, common reference, blanking). Samples that conditioning
    removes, such as those during stimulation, are not used.

    If the forecaster was not trained on this organoid, it uses the connectivity expected for an unseen organoid.
    With --adapt-ms, the connectivity is estimated from the beginning of the recording. The options from --unit onward
    are hints: they supply missing metadata, or override what the file says.
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


@main.command("reproduce", short_help="Repeat a training run and compare the results.")
@click.argument("version")
@settings_options(ReproductionSettings)
def reproduce_command(version: str, **options: Any) -> None:
    """Repeat the training of a registered forecaster and compare the results. The exit status is 1 if they differ.

    VERSION is a number or an alias, such as champion. The conditioned recordings that it was trained on
    must be unchanged. The window
    set is rebuilt and the training repeated in a scratch folder, with the same seed, windows and number of epochs, but
    without a time limit. On the CPU, with the same processor and libraries, the weights must be identical. Otherwise R2
    must agree within the tolerance.
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


@main.command(short_help="Roll back to the previous champion or an older one.")
@click.argument("version", required=False)
@click.option(
    "--why", required=True, help="Reason for the rollback. It is stored in the audit log and the version's tags."
)
def rollback(version: str | None, why: str) -> None:
    """Restore the previous champion, or the older champion given as VERSION.

    From then on, forecasts use the restored champion unless another model is named. The replaced version gets the alias
    `previous`. It can become champion again only through another rollback, never through automatic promotion after
    training.
    """
    from voltpipe.tracking.audit_log import current_user
    from voltpipe.tracking.mlflow_store import TrackingStore
    from voltpipe.tracking.promotion import roll_back

    click.echo(roll_back(TrackingStore.of(Lake.default()), to=version, who=current_user(), why=why).line)


@main.command(short_help="Show the audit log.")
def history() -> None:
    """Show the audit log: each promotion, refused promotion and rollback, with author, time and reason."""
    from voltpipe.tracking.audit_log import AuditLog
    from voltpipe.tracking.mlflow_store import TrackingStore

    lines = [entry.line for entry in AuditLog.of(TrackingStore.of(Lake.default())).entries()]
    click.echo("\n".join(lines) or "No version has been reviewed for promotion. `voltpipe train` registers one.")


@main.command(short_help="Compare registered forecasters on held-out recordings.")
@click.argument("versions", nargs=-1, required=True, metavar="VERSION VERSION...")
@click.option(
    "--window-set",
    default="",
    metavar="DIGEST",
    help="Window set to score on: its digest or the start of it. Default: that of the newest VERSION.",
)
def compare(versions: tuple[str, ...], window_set: str) -> None:
    """Compare registered forecasters on recordings that none of them was trained on, and write a report.

    A VERSION is a number or an alias, such as champion. The first VERSION is the reference; each of the others is
    compared with it.
    """
    from voltpipe.tracking.compare_versions import compare_registered
    from voltpipe.tracking.mlflow_store import TrackingStore

    lake = Lake.default()
    page, verdicts = compare_registered(lake, TrackingStore.of(lake), versions, window_set)
    for verdict in verdicts:
        click.echo(verdict)
    click.echo(page)


@main.command(short_help="Export a conditioned recording as NWB.")
@click.argument("key", metavar="ORGANOID--RECORDING")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="F.nwb", help="NWB file to write.")
@click.option(
    "--session-start",
    type=click.DateTime(),
    required=True,
    help="Date and time at which the recording started, in UTC.",
)
@click.option("--species", required=True, help="Latin name of the species, e.g. 'Homo sapiens'.")
@click.option("--age", required=True, help="Age of the organoid as an ISO 8601 duration, e.g. P90D for 90 days.")
@click.option(
    "--forecast",
    type=_EXISTING,
    metavar="F.parquet",
    help="Forecasts to include: a file written by `voltpipe forecast`.",
)
def export(key: str, out: Path, session_start: datetime, species: str, age: str, forecast: Path | None) -> None:
    """Export a conditioned recording, and optionally its forecasts, as NWB.

    ORGANOID--RECORDING names a recording in the lake, such as org7--day1.
    """
    from voltpipe.recordings.store.conditioned_recording import open_conditioned
    from voltpipe.recordings.store.nwb_export import export_nwb

    recording = open_conditioned(Lake.default().conditioned_path(RecordingKey.parse(key)))
    export_nwb(recording, out, session_start=session_start, species=species, age=age, forecast=forecast)
    click.echo(out)


@main.command(short_help="Run Dagster and MLflow until you press Ctrl-C.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. If it is not a loopback address, anyone on the network can use the servers.",
)
@click.option("--dagster-port", type=int, default=3000, show_default=True, help="Port of Dagster's web UI.")
@click.option("--mlflow-port", type=int, default=5000, show_default=True, help="Port of MLflow's web UI.")
def up(host: str, dagster_port: int, mlflow_port: int) -> None:
    """Run Dagster (web UI and daemon) and MLflow until you press Ctrl-C."""
    from voltpipe.cli.servers import serve

    serve(Lake.default(), host=host, dagster_port=dagster_port, mlflow_port=mlflow_port)


@main.command(short_help="Check the lake and this machine for problems.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that `voltpipe up` would listen on.")
@click.option("--dagster-port", type=int, default=3000, show_default=True, help="Port of Dagster's web UI.")
@click.option("--mlflow-port", type=int, default=5000, show_default=True, help="Port of MLflow's web UI.")
def doctor(host: str, dagster_port: int, mlflow_port: int) -> None:
    """Check the lake and this machine, and report problems and how to fix them.

    Missing databases are created and old ones migrated.

    The exit status is 1 if there is a problem.
    """
    from voltpipe.cli.doctor import run_checks

    results = run_checks(Lake.default(), host=host, ports={"Dagster": dagster_port, "MLflow": mlflow_port})
    for result in results:
        click.echo(result.line)
    sys.exit(0 if all(result.healthy for result in results) else 1)


@main.command(short_help="Run the whole pipeline on a simulated organoid.")
def demo() -> None:
    """Simulate an organoid, run its recordings through the whole pipeline, and show the scores of three forecasters."""
    from voltpipe.cli.demo import run_demo

    run_demo(Lake.default())
