"""A forecaster's errors on each recording apart: what a comparison over recordings is made from."""

from pydantic import Field

from voltpipe.evaluation.facts import Facts
from voltpipe.evaluation.regimes import Regime


class RecordingErrors(Facts):
    """Sums over the targets of one recording's channels of one type; any pooled R2 is made from such sums."""

    forecaster: str
    regime: Regime
    recording: str = Field(description="partition key")
    channel_type: str
    horizons: tuple[int, ...] = Field(description="samples ahead, ascending")
    squared_error_mv2: tuple[float, ...] = Field(description="SSE, by horizon")
    total_mv2: tuple[float, ...] = Field(description="SST about the channels' training means, by horizon")
    n_targets: int = Field(description="windows times channels")
