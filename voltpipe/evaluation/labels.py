"""Names of forecasters, baselines and regimes for readers."""

from voltpipe.evaluation.regimes import ADAPTATION_MS, Regime
from voltpipe.windows.settings import Protocol

CEILING = "ceiling"
OBSERVABLE_CEILING = "ceiling from 1 ms samples"

PUBLISHED_WARNING = (
    "Published protocol: windows were shuffled before splitting, so training and test windows overlap. "
    "These scores are worth nothing but a comparison with the published ones."
)

_REGIMES = {
    Regime.TEST: "held-out recordings",
    Regime.ZERO_SHOT: "held-out recordings of organoids never seen",
    Regime.ADAPTED: f"the same after {ADAPTATION_MS / 1000:g} s, adapted to these",
    Regime.TIME: "held-out time",
}


def regime_label(regime: Regime, protocol: Protocol) -> str:
    """Return the description of a regime."""
    return "shuffled windows (published protocol)" if protocol == Protocol.PUBLISHED else _REGIMES[regime]


def forecaster_label(name: str) -> str:
    """A forecaster's name as it is written in text: "lookup table", "shared CNN-LSTM", "LSTM large"."""
    return (
        name.replace("look_up", "lookup table")
        .replace("cnn_lstm", "CNN-LSTM")
        .replace("lstm", "LSTM")
        .replace("_", " ")
    )


def duration_label(n_samples: int, rate_hz: float) -> str:
    """Samples as milliseconds: "5 ms"."""
    return f"{1000 * n_samples / rate_hz:.3g} ms"
