"""The few commands a person types. Heavy imports wait inside the commands, so that `--help` comes at once."""

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
    """Shows errors meant for the user as one message, not as a stack."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VoltpipeError as error:
            click.echo(f"voltpipe: {error}", err=True)
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="voltpipe")
def main() -> None:
    """Orchestrated, honest voltage forecasting for neural tissue.

    Everything lies in the data lake: data_lake/, or the folder that VOLTPIPE_DATA_LAKE names.
    """


@main.command()
@click.argument("preparation", type=click.Choice([preparation.value for preparation in Preparation]))
@click.option("--organoid", required=True, help="whose recordings they become in the lake")
@settings_options(SimulationSettings, leave_out=("preparation",))
@click.option(
    "--file-format",
    type=click.Choice([file_format.value for file_format in RawFormat]),
    default=RawFormat.NWB.value,
    show_default=True,
    help="nwb, or the published text format",
)
def simulate(preparation: str, organoid: str, file_format: str, **options: Any) -> None:
    """Simulate raw recordings of a reference preparation into the lake.

    brunel draws another network for each recording, as published, and so makes each another organoid (NAME_000,
    NAME_001, ...); organoid records one network again and again.
    """
    from voltpipe.simulation.raw_files import write_raw_files

    settings = settings_from_options(SimulationSettings, options, preparation=preparation)
    for path in write_raw_files(settings, Lake.default(), organoid, RawFormat(file_format)):
        click.echo(path)


@main.command()
@click.argument("files", nargs=-1, required=True, type=_EXISTING, metavar="FILE...")
@click.option("--organoid", required=True, help="whose recordings they are")
@click.option("--name", help="of the recording in the lake, where FILE's own is no name, as in MaxWell's data.raw.h5")
@settings_options(Hints, leave_out=("conditioning",))
@settings_options(ConditioningSettings)
def ingest(files: tuple[Path, ...], organoid: str, name: str | None, **options: Any) -> None:
    """Copy recordings into the lake and condition them.

    The options are hints for what the files cannot say, and how they are conditioned (from --profile on); they are kept
    in a sidecar beside each raw file. A recording that cannot be trusted is quarantined with the reason, and the exit
    status is 1; the others go on.
    """
    from voltpipe.cli.ingest_files import ingest_files

    if name is not None and len(files) > 1:
        raise click.UsageError(f"--name is for one FILE, found {len(files)} of them")
    hints = settings_from_options(Hints, options, conditioning=settings_from_options(ConditioningSettings, options))
    lake = Lake.default()
    outcomes = ingest_files(lake, files, organoid, hints, name)
    for outcome in outcomes:
        click.echo(outcome.line, err=not outcome.usable)
    if lake.page.exists():
        click.echo(f"all recordings: {lake.page}")
    sys.exit(0 if all(outcome.usable for outcome in outcomes) else 1)


@main.command()
@click.option("--organoid", help="use this organoid's recordings only [default: all organoids]")
@settings_options(TrainingSettings)
def train(organoid: str | None, **options: Any) -> None:
    """Train a forecaster on the conditioned recordings, evaluate it, register it, and let the gate decide.

    Dagster runs it on the lake's own instance, so the run and its assets are seen in the UI. A training that was killed
    goes on from its last epoch when the same is asked for again.
    """
    from voltpipe.cli.train_and_register import train_and_register

    settings = settings_from_options(TrainingSettings, options)
    click.echo(train_and_register(Lake.default(), settings, organoid))


@main.command()
@click.option("--organoid", help="use this organoid's recordings only [default: all organoids]")
@settings_options(SearchSettings)
def search(organoid: str | None, **options: Any) -> None:
    """Search for the training settings with the lowest validation loss; each trial is a training.

    Learning rate, weight decay, batch size, windows per epoch and noise are searched unless they are set. A search that
    was stopped goes on when the same is asked for again, as does one of which more trials are asked for.
    """
    from voltpipe.cli.train_and_register import search_settings

    settings = settings_from_options(SearchSettings, options)
    click.echo(search_settings(Lake.default(), settings, organoid))


@main.command()
@click.argument("file", type=_EXISTING)
@click.option("--model", default=_MODEL, show_default=True, help="a registered forecaster, or a folder that holds one")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="F.parquet", help="where to write")
@click.option("--every-ms", type=float, default=10.0, show_default=True, help="from one forecast to the next, in ms")
@click.option("--organoid", help="whose recording it is [default: the one that the forecaster was trained on]")
@click.option("--adapt-ms", type=click.FloatRange(min=0, min_open=True), help="adapt to so much of its beginning first")
@settings_options(ChampionSettings)
@settings_options(Hints, leave_out=("conditioning",))
def forecast(
    file: Path, model: str, out: Path, every_ms: float, organoid: str | None, adapt_ms: float | None, **options: Any
) -> None:
    """Forecast a recording in mV: a row for each time, channel and horizon.

    FILE is a raw recording, which is conditioned as those that the forecaster was trained on (filter, resampling,
    common reference, blanking), or a conditioned one of the lake. What is left out of it is not forecast from.

    An organoid that the forecaster was not trained on is forecast as one of which nothing is known, or, with
    --adapt-ms, with the coupling that its own beginning shows. The other options are hints for what the file cannot
    say.
    """
    from voltpipe.inference.forecast_file import forecast_file
    from voltpipe.tracking.model_registry import load_forecaster

    hints = settings_from_options(Hints, options)
    with warnings.catch_warnings(record=True) as said:
        forecaster = load_forecaster(model, settings=settings_from_options(ChampionSettings, options))
    for warning in said:
        click.echo(f"voltpipe: {warning.message}", err=True)
    made = forecast_file(forecaster, file, hints, out, every_ms=every_ms, organoid=organoid, adapt_ms=adapt_ms)
    click.echo(f"{made.rows:,} forecasts in {out}")
    if made.notice and made.notice.warns:
        click.echo(f"voltpipe: take the forecasts of {file.name} with care: {made.notice.text}", err=True)


@main.command()
@click.argument("version")
@settings_options(ReproductionSettings)
def reproduce(version: str, **options: Any) -> None:
    """Make a registered forecaster again, and say whether it is the same; exit status 1 if it is not.

    VERSION is a number or an alias, such as champion. Its recordings must be as they were conditioned then; the window
    set and the training are repeated in a scratch folder, with the same seed, epochs and windows, whatever the clock
    says. On the processor and with the libraries of then, a training on the CPU must give identical weights; elsewhere
    R2 must agree within the tolerance.
    """
    from voltpipe.pipeline.progress_listeners import TerminalProgress
    from voltpipe.tracking.mlflow_store import TrackingStore
    from voltpipe.tracking.reproduce import reproduce as compared

    lake = Lake.default()
    settings = settings_from_options(ReproductionSettings, options)
    same = True
    for each in compared(lake, TrackingStore.of(lake), version, settings, TerminalProgress()):
        click.echo(each.line)
        same &= each.matches
    click.echo(f"version {version} {'is reproduced' if same else 'is NOT reproduced'}")
    sys.exit(0 if same else 1)


@main.command()
@click.argument("version", required=False)
@click.option("--why", required=True, help="in plain words; stands in the audit trail and in the versions' tags")
def rollback(version: str | None, why: str) -> None:
    """Make the champion before this one champion again, or VERSION, if that was champion once.

    Forecasts come from it at once. The version rolled back becomes `previous`, so that the same again brings it back;
    the gate does not.
    """
    from voltpipe.tracking.audit_log import current_user
    from voltpipe.tracking.mlflow_store import TrackingStore
    from voltpipe.tracking.promotion import roll_back

    click.echo(roll_back(TrackingStore.of(Lake.default()), to=version, who=current_user(), why=why).line)


@main.command()
def history() -> None:
    """Say who made which version champion, refused it or rolled it back, when and why."""
    from voltpipe.tracking.audit_log import AuditLog
    from voltpipe.tracking.mlflow_store import TrackingStore

    lines = [entry.line for entry in AuditLog.of(TrackingStore.of(Lake.default())).entries()]
    click.echo("\n".join(lines) or "No version has been reviewed for promotion. `voltpipe train` registers one.")


@main.command()
@click.argument("versions", nargs=-1, required=True, metavar="VERSION VERSION...")
@click.option(
    "--window-set", default="", metavar="DIGEST", help="Beginning of the digest of the window set to score on."
)
def compare(versions: tuple[str, ...], window_set: str) -> None:
    """Compare registered forecasters on held-out recordings from which none of them learned, and write a page of it.

    A VERSION is a number or an alias, such as champion; the others are compared with the first.
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
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="F.nwb", help="where to write")
@click.option("--session-start", type=click.DateTime(), required=True, help="when the recording began, UTC")
@click.option("--species", required=True, help="Latin name of whose cells were recorded, e.g. 'Homo sapiens'")
@click.option("--age", required=True, help="of the preparation, as an ISO 8601 duration, e.g. P90D for 90 days")
@click.option("--forecast", type=_EXISTING, metavar="F.parquet", help="forecasts of it, as `voltpipe forecast` wrote")
def export(key: str, out: Path, session_start: datetime, species: str, age: str, forecast: Path | None) -> None:
    """Write a conditioned recording, and forecasts of it, as NWB."""
    from voltpipe.recordings.store.conditioned_recording import open_conditioned
    from voltpipe.recordings.store.nwb_export import export_nwb

    recording = open_conditioned(Lake.default().conditioned_path(RecordingKey.parse(key)))
    export_nwb(recording, out, session_start=session_start, species=species, age=age, forecast=forecast)
    click.echo(out)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="where to listen; other machines see it elsewhere")
@click.option("--dagster-port", type=int, default=3000, show_default=True)
@click.option("--mlflow-port", type=int, default=5000, show_default=True)
def up(host: str, dagster_port: int, mlflow_port: int) -> None:
    """Serve Dagster (pages and daemon) and MLflow together, until Ctrl-C."""
    from voltpipe.cli.servers import serve

    serve(Lake.default(), host=host, dagster_port=dagster_port, mlflow_port=mlflow_port)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="where `up` would listen")
@click.option("--dagster-port", type=int, default=3000, show_default=True)
@click.option("--mlflow-port", type=int, default=5000, show_default=True)
def doctor(host: str, dagster_port: int, mlflow_port: int) -> None:
    """Make and migrate the lake's stores, and say what is wrong and what to do; exit status 1 if something is."""
    from voltpipe.cli.doctor import run_checks

    findings = run_checks(Lake.default(), host=host, ports={"Dagster": dagster_port, "MLflow": mlflow_port})
    for finding in findings:
        click.echo(finding.line)
    sys.exit(0 if all(finding.healthy for finding in findings) else 1)


@main.command()
def demo() -> None:
    """Simulate an organoid, carry its recordings through the whole chain, and show what the forecaster is worth."""
    from voltpipe.cli.demo import run_demo

    run_demo(Lake.default())
