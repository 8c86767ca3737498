"""The model card: what a version's page says to somebody who has never heard of it."""

import re
from collections.abc import Iterator, Mapping

from voltpipe.evaluation.labels import duration_label, forecaster_label
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import Evaluation
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.recordings.conditioning.signature import signature_label
from voltpipe.reporting.score_tables import score_text
from voltpipe.reporting.verdict import evaluation_verdict
from voltpipe.windows.splits import Split

_LISTED_KEYS = 8
"""Recordings named in a row; MLflow holds a description of 5,000 characters."""
_BEFORE_FIGURE = re.compile(r"(?<=\|) +(?=-?\d)")
"""Where a table needs space of its own: MLflow's page sets a table's cells without any space between them."""
_SPLITS: dict[str, str] = {
    Split.TRAIN: "trained on",
    Split.VALIDATION: "validated on",
    Regime.TEST: "tested on (held out whole)",
    Regime.ZERO_SHOT: "tested on (held out whole, of organoids never seen)",
    Regime.ADAPTED: "tested on the end of (adapted to their beginning)",
    Regime.TIME: "tested on the end of (held-out time)",
}


def model_card(evaluation: Evaluation, forecaster: Forecaster, origin: Mapping[str, str]) -> str:
    """A forecaster's model card, in Markdown.

    Args:
        evaluation: its scores beside those of the baselines.
        forecaster: the forecaster.
        origin: whatever else is to be known of its making, by name, in Markdown: training time and device, links to the
            report, to the Dagster run.
    """
    provenance = evaluation.provenance
    organoids = ", ".join(provenance.trained_on)
    # The list of versions shows the first words as plain text, so no heading stands before them.
    summary = f"{forecaster_label(evaluation.forecaster)}, trained on {organoids}. {evaluation_verdict(evaluation)}"
    sections = {
        "Scores": [
            _BEFORE_FIGURE.sub("&emsp;", score_text(evaluation)),
            "R2 is 1 - SSE/SST in mV over all targets, SST about the training mean.",
        ],
        "Recordings": [_bullets(_recordings(evaluation))],
        "Limits": [_bullets(_limits(evaluation, forecaster))],
        "How to use it": [_use(forecaster)],
        "Where it comes from": [_bullets(f"{name}: {value}" for name, value in _origin(evaluation, origin).items())],
    }
    return "\n\n".join([summary, *(f"## {title}\n\n" + "\n\n".join(parts) for title, parts in sections.items())])


def _recordings(evaluation: Evaluation) -> Iterator[str]:
    for split, keys in evaluation.provenance.recordings.items():
        more = f" and {len(keys) - _LISTED_KEYS} more" if len(keys) > _LISTED_KEYS else ""
        yield f"{_SPLITS[split]}: {len(keys)} ({', '.join(keys[:_LISTED_KEYS])}{more})"
    yield "the run's page lists each with its digest, and `origin.json` among its artifacts all that a rebuild needs"


def _limits(evaluation: Evaluation, forecaster: Forecaster) -> Iterator[str]:
    provenance, config = evaluation.provenance, forecaster.config
    if forecaster.adapts:
        yield (
            "It knows who drives whom in the organoids it was trained on; for another one, hand it some seconds of "
            "that one's past (`forecaster.adapted_to`, `voltpipe forecast --adapt-ms`)."
        )
    elif forecaster.module.bound_to_channels:
        yield f"Its weights belong to {len(config.channel_names)} channels, in their order."
    else:
        yield "All channels share its weights: it takes any number of channels."
    yield f"It knows {', '.join(provenance.trained_on)}; how it does on other tissue is not evaluated."
    yield "It forecasts the expected voltage: forecasts vary less than the voltage does, and show no single spikes."
    if provenance.preparation is not None:
        yield f"The recordings are simulated ({provenance.preparation}), so it has not met real tissue."


def _use(forecaster: Forecaster) -> str:
    config = forecaster.config
    shape = f"{config.context_samples}, {_n_channels(forecaster)}"
    horizons = ", ".join(duration_label(horizon, config.rate_hz) for horizon in config.horizons_samples)
    return f"""```
voltpipe forecast FILE --model voltage-forecaster@champion --out forecast.parquet
```

```python
from voltpipe import load_forecaster

forecaster = load_forecaster("voltage-forecaster@champion")
forecast_mv = forecaster.predict_mv(history_mv)
```

```
export MLFLOW_TRACKING_URI=sqlite:///$PWD/data_lake/mlflow/mlflow.db
mlflow models serve -m models:/voltage-forecaster@champion --env-manager local
```

`history_mv` is float32 ({shape}) at {config.rate_hz:g} Hz in mV; `forecast_mv` has the same channels at {horizons}.

The recordings were conditioned as {signature_label(config.conditioning)}. `voltpipe forecast` does the same to a raw
FILE; `history_mv` must be so already."""


def _n_channels(forecaster: Forecaster) -> str:
    return str(len(forecaster.config.channel_names)) if forecaster.module.bound_to_channels else "channels"


def _origin(evaluation: Evaluation, origin: Mapping[str, str]) -> dict[str, str]:
    provenance = evaluation.provenance
    return {
        **origin,
        "code": provenance.code_revision,
        "window set": f"`{provenance.window_set_digest[:12]}`",
        "evaluated": f"{provenance.created_utc:%Y-%m-%d %H:%M} UTC",
    }


def _bullets(items: Iterator[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
