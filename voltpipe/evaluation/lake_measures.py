"""What the lake's page tells of each recording's quality: which figure of which check, and how it is written."""

from collections.abc import Callable
from dataclasses import dataclass

from voltpipe.recordings.catalogue import RecordingRecord

UNKNOWN = "\N{EN DASH}"


@dataclass(frozen=True)
class Measure:
    """One figure of a recording's quality."""

    check: str
    """The check whose figure it is."""
    title: str
    meaning: str
    figures: tuple[str, ...]
    """Of several, the largest counts."""
    text: Callable[[float], str]

    def value(self, entry: RecordingRecord) -> float | None:
        """The figure, where it was taken."""
        values = [entry.figure(self.check, name) for name in self.figures]
        return max((value for value in values if value is not None), default=None)

    def cell(self, entry: RecordingRecord) -> str:
        """The figure as text."""
        value = self.value(entry)
        return UNKNOWN if value is None else self.text(value)


def voltage_text(voltage_mv: float) -> str:
    """A voltage in V, mV or uV, whichever is easiest to read."""
    if voltage_mv >= 1000:
        return f"{voltage_mv / 1000:.3g} V"
    return f"{voltage_mv:.3g} mV" if voltage_mv >= 0.1 else f"{1000 * voltage_mv:.3g} µV"


def share_text(share: float) -> str:
    """A share in percent; nothing is rounded to nought."""
    if not share:
        return "0"
    return f"{100 * share:.2g} %" if share >= 0.0001 else "< 0.01 %"


def duration_text(seconds: float) -> str:
    """A duration in its two largest units: "3 h 20 min", "2 min 5 s", "9.2 s"."""
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest_s} s"


def rate_text(rate_hz: float) -> str:
    """A sampling rate in Hz or kHz."""
    return f"{rate_hz / 1000:g} kHz" if rate_hz >= 1000 else f"{rate_hz:g} Hz"


NOISE = Measure(
    "noise",
    "noise",
    "median channel's noise (MAD, as an SD); red where another channel's is far from it",
    ("median_noise_mv",),
    voltage_text,
)
SATURATED = Measure(
    "clipping",
    "saturated",
    "largest share of a channel's samples that stand at its extreme",
    ("largest_clipped_share",),
    share_text,
)
HUM = Measure(
    "hum",
    "hum",
    "largest share of a channel's variance at 50 or 60 Hz",
    ("largest_share_50_hz", "largest_share_60_hz"),
    share_text,
)
DRIFT = Measure(
    "drift",
    "drift",
    "how far a channel's mean wanders from its beginning, in SDs",
    ("largest_drift_sd",),
    lambda drift_sd: f"{drift_sd:.2g} SD",
)
MEASURES = (
    NOISE,
    SATURATED,
    HUM,
    DRIFT,
    Measure("gaps", "gaps", "gaps in time", ("gaps",), "{:,.0f}".format),
    Measure("dropped", "dropped", "samples missing between time stamps", ("dropped_samples",), "{:,.0f}".format),
    Measure("flat", "flat", "channels that never change", ("flat_channels",), "{:,.0f}".format),
)
DRAWN = (NOISE, SATURATED, HUM, DRIFT)
