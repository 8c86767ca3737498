"""The model card: description of a registered version for readers who do not know it."""

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
"""Number of recordings listed per split; MLflow limits a description to 5,000 characters."""
_BEFORE_NUMBER = re.compile(r"(?<=\|) +(?=-?\d)")
"""Places in a Markdown table that get a wide space: MLflow shows table cells without space between them."""
_SPLITS: dict[str, str] = {
    Split.TRAIN: "trained on",
    Split.VALIDATION: "validated on",
    Regime.TEST: "tested on (held out as a whole)",
    Regime.ZERO_SHOT: "tested on (unseen organoids)",
    Regime.ADAPTED: "tested on, after adapting to the beginning of each (unseen organoids)",
    Regime.TIME: "tested on the held-out end of",
}


def model_card(evaluation: Evaluation, forecaster: Forecaster, origin: Mapping[str, str]) -> str:
    """Return a forecaster's model card in Markdown.

    Args:
        evaluation: scores of the forecaster and of the baselines.
        forecaster: the forecaster.
        origin: further facts about its training, by name, in Markdown: training time and device, links to the report
            and to the Dagster run.
    """
    provenance = evaluation.provenance
    organoids = ", ".join(provenance.trained_on)
    # MLflow's list of versions shows the first words as plain text, so the card does not begin with a heading.
    summary = f"{forecaster_label(evaluation.forecaster)}, trained on {organoids}. {evaluation_verdict(evaluation)}"
    sections = {
        "Scores": [
            _BEFORE_NUMBER.sub("&emsp;", score_text(evaluation)),
            "R2 = 1 - SSE/SST over all targets in mV, with SST about each channel's training mean.",
        ],
        "Recordings": [_bullets(_recordings(evaluation))],
        "Limits": [_bullets(_limits(evaluation, forecaster))],
        "How to use it": [_use(forecaster)],
        "Provenance": [_bullets(f"{name}: {value}" for name, value in _origin(evaluation, origin).items())],
    }
    return "\n\n".join([summary, *(f"## {title}\n\n" + "\n\n".join(parts) for title, parts in sections.items())])


def _recordings(evaluation: Evaluation) -> Iterator[str]:
    for split, keys in evaluation.provenance.recordings.items():
        more = f" and {len(keys) - _LISTED_KEYS} more" if len(keys) > _LISTED_KEYS else ""
        yield f"{_SPLITS[split]}: {len(keys)} ({', '.join(keys[:_LISTED_KEYS])}{more})"
    yield "The MLflow run lists recordings with digests. Its artifact `origin.json` holds all that a rebuild needs."


def _limits(evaluation: Evaluation, forecaster: Forecaster) -> Iterator[str]:
    provenance, config = evaluation.provenance, forecaster.config
    if forecaster.adapts:
        yield (
            "It has learned the connectivity of its training organoids. Before forecasting another organoid, adapt it "
            "to some seconds of that organoid's past (`forecaster.adapted_to`, `voltpipe forecast --adapt-ms`)."
        )
    elif forecaster.module.bound_to_channels:
        yield f"It requires the {len(config.channel_names)} channels of its training recordings, in the same order."
    else:
        yield "All channels share the same weights, so it accepts any number of channels."
    yield f"It was trained on {', '.join(provenance.trained_on)}. Its skill on other preparations was not evaluated."
    yield "It forecasts the expected voltage: forecasts vary less than the voltage and do not show single spikes."
    if provenance.preparation is not None:
        yield f"Its training recordings are simulated ({provenance.preparation}), so its skill on real ones is unknown."


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

`history_mv` is float32 of shape ({shape}), in mV at {config.rate_hz:g} Hz. `forecast_mv` has the same channels; its
horizons are {horizons}.

Conditioning of the training recordings: {signature_label(config.conditioning)}. `voltpipe forecast` conditions a raw
FILE in the same way; `history_mv` must already be conditioned."""


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
