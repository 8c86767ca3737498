"""Figures and quality measures of the lake page: dates of recordings, and their quality over time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from voltpipe.recordings.raw.recording_records import RecordingRecord, RecordingStatus
from voltpipe.reporting.figures.figure_style import FAINT, GROUPS, WARNING, RenderedFigure, new_figure, render

UNKNOWN = "\N{EN DASH}"


@dataclass(frozen=True)
class QualityMeasure:
    """A statistic that a quality check reports of a recording."""

    check: str
    """Name of the quality check that reports it."""
    title: str
    meaning: str
    statistics: tuple[str, ...]
    """Names of its statistics; the largest one counts."""
    text: Callable[[float], str]

    def value(self, entry: RecordingRecord) -> float | None:
        """Return the value; None if it was not measured."""
        values = [entry.figure(self.check, name) for name in self.statistics]
        return max((value for value in values if value is not None), default=None)

    def cell(self, entry: RecordingRecord) -> str:
        """Return the value as text."""
        value = self.value(entry)
        return UNKNOWN if value is None else self.text(value)


def voltage_text(voltage_mv: float) -> str:
    """Format a voltage in V, mV or µV, by its size."""
    if voltage_mv >= 1000:
        return f"{voltage_mv / 1000:.3g} V"
    return f"{voltage_mv:.3g} mV" if voltage_mv >= 0.1 else f"{1000 * voltage_mv:.3g} µV"


def share_text(share: float) -> str:
    """Format a share in percent; a share above zero never becomes 0."""
    if not share:
        return "0"
    return f"{100 * share:.2g} %" if share >= 0.0001 else "< 0.01 %"


def duration_text(seconds: float) -> str:
    """Format a duration in its two largest units: "3 h 20 min", "2 min 5 s", "9.2 s"."""
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest_s} s"


def rate_text(rate_hz: float) -> str:
    """Format a sampling rate in Hz or kHz."""
    return f"{rate_hz / 1000:g} kHz" if rate_hz >= 1000 else f"{rate_hz:g} Hz"


NOISE = QualityMeasure(
    "noise",
    "noise",
    "noise of the median channel (1.4826 MAD); red if any channel is far noisier or quieter than the others",
    ("median_noise_mv",),
    voltage_text,
)
SATURATED = QualityMeasure(
    "clipping",
    "saturated",
    "largest share of samples at a channel's minimum or maximum, over channels",
    ("largest_clipped_share",),
    share_text,
)
HUM = QualityMeasure(
    "hum",
    "hum",
    "largest share of variance at 50 or 60 Hz, over channels",
    ("largest_share_50_hz", "largest_share_60_hz"),
    share_text,
)
DRIFT = QualityMeasure(
    "drift",
    "drift",
    "largest change of a channel's mean since the calibration span, in SDs",
    ("largest_drift_sd",),
    lambda drift_sd: f"{drift_sd:.2g} SD",
)
QUALITY_MEASURES = (
    NOISE,
    SATURATED,
    HUM,
    DRIFT,
    QualityMeasure("gaps", "gaps", "number of gaps in time", ("gaps",), "{:,.0f}".format),
    QualityMeasure(
        "dropped", "dropped", "number of samples missing between time stamps", ("dropped_samples",), "{:,.0f}".format
    ),
    QualityMeasure("flat", "flat", "number of channels that never change", ("flat_channels",), "{:,.0f}".format),
)
DRAWN = (NOISE, SATURATED, HUM, DRIFT)


COVERAGE, QUALITY = "coverage", "quality"
_MAX_ORGANOIDS = 24
MOST_VECTORS = 600
"""Number of marks above which they are drawn as a bitmap, to keep the page small."""
_LONGEST_NAME = 22
_MARKS = {
    RecordingStatus.OK: ("o", GROUPS[0]),
    RecordingStatus.WARN: ("^", GROUPS[4]),
    RecordingStatus.QUARANTINED: ("X", WARNING),
}

Mark = tuple[int | float, int | float, RecordingStatus]
"""Position (x, y) of a mark, and the status that decides its shape."""


def lake_figures(entries: Sequence[RecordingRecord]) -> dict[str, RenderedFigure]:
    """Render the figures that the recordings have data for, by name."""
    dated = sorted((entry for entry in entries if entry.seen), key=_day)
    measured = [entry for entry in dated if entry.report]
    drawn = {}
    if dated:
        shown = _latest_organoids(dated)
        n_organoids = len({entry.key.organoid for entry in dated})
        selection = f" ({len(shown)} of {n_organoids}, those recorded last)" if len(shown) < n_organoids else ""
        drawn[COVERAGE] = render(
            COVERAGE,
            lambda: draw_coverage(dated, shown),
            title="When each organoid was recorded",
            subtitle=f"{len(dated):,} recordings",
            caption=f"One mark per recording, one row per organoid{selection}. If a file does not state when it was "
            "recorded, the date of its last change is used.",
            basis=f"dates · {len(dated):,} recordings",
        )
    if measured:
        drawn[QUALITY] = render(
            QUALITY,
            lambda: draw_quality(measured),
            title="Quality over time",
            subtitle=f"{len(measured):,} recordings",
            caption="From top to bottom: noise of the median channel (1.4826 MAD); then, for the worst channel, the "
            "share of samples at its minimum or maximum, the share of variance at 50 or 60 Hz, and the drift of its "
            "mean. A triangle marks a recording with a warning about that measure, and the worst "
            "such recording is labeled. A "
            "cross marks a quarantined recording. A lasting rise suggests that the rig or the preparation changed.",
            basis=f"units on the axes · {len(measured):,} recordings",
        )
    return drawn


def _day(entry: RecordingRecord) -> float:
    """Return the recording date in matplotlib's unit, days since 1970."""
    assert entry.seen is not None
    return entry.seen.recorded_at.timestamp() / 86_400


def _latest_organoids(dated: Sequence[RecordingRecord]) -> list[str]:
    """Return the organoids recorded last, sorted by name."""
    latest = list(dict.fromkeys(entry.key.organoid for entry in reversed(dated)))
    return sorted(latest[:_MAX_ORGANOIDS])


def draw_coverage(dated: Sequence[RecordingRecord], organoids: Sequence[str]) -> Figure:
    """Draw a row per organoid and a mark per recording at its date."""
    figure = new_figure(0.9 + 0.24 * len(organoids))
    axes = figure.subplots()
    rows = {organoid: row for row, organoid in enumerate(organoids)}
    shown = [entry for entry in dated if entry.key.organoid in rows]
    _mark(axes, [(_day(entry), rows[entry.key.organoid], entry.standing) for entry in shown])
    axes.set_yticks(range(len(organoids)), [_short(organoid) for organoid in organoids])
    axes.set_ylim(len(organoids) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    first, last = _day(shown[0]), _day(shown[-1])
    margin = max((last - first) / 40, 1 / 24)
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis_date()
    _legend(figure)
    return figure


def draw_quality(measured: Sequence[RecordingRecord]) -> Figure:
    """Draw a panel per measure and a mark per recording; the worst recording that failed the check is labeled."""
    figure = new_figure(0.6 + 1.15 * len(DRAWN))
    panels = figure.subplots(len(DRAWN), 1, sharex=True)
    for axes, measure in zip(panels, DRAWN, strict=True):
        marks = [
            (number, value, _status(entry, measure))
            for number, entry in enumerate(measured, 1)
            if (value := measure.value(entry)) is not None
        ]
        _mark(axes, marks)
        _scale(axes, measure, [value for _, value, _ in marks])
        failed = [(value, number) for number, value, _ in marks if _failed(measured[number - 1], measure)]
        if failed:
            value, number = max(failed)
            _label(axes, str(measured[number - 1].key), (number, value), is_right=number > len(measured) / 2)
    panels[-1].set_xlabel("recordings, from oldest to newest")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    _legend(figure)
    return figure


def _failed(entry: RecordingRecord, measure: QualityMeasure) -> bool:
    return any(check.name == measure.check for check in entry.doubts)


def _status(entry: RecordingRecord, measure: QualityMeasure) -> RecordingStatus:
    if entry.standing is RecordingStatus.QUARANTINED:
        return RecordingStatus.QUARANTINED
    return RecordingStatus.WARN if _failed(entry, measure) else RecordingStatus.OK


def _mark(axes: Axes, marks: Sequence[Mark]) -> None:
    many = len(marks) > MOST_VECTORS
    for standing, (marker, color) in _MARKS.items():
        own = [mark for mark in marks if mark[2] is standing]
        if own:
            axes.plot(
                [x for x, _, _ in own],
                [y for _, y, _ in own],
                linestyle="none",
                marker=marker,
                markersize=(2.5 if many else 4.0) + (0.0 if standing is RecordingStatus.OK else 1.5),
                markeredgewidth=0,
                color=color,
                alpha=0.8,
                label=standing.value,
                rasterized=many,
            )


def _label(axes: Axes, name: str, place: tuple[int, float], *, is_right: bool) -> None:
    axes.annotate(
        _short(name),
        place,
        xytext=(0, 5),
        textcoords="offset points",
        ha="right" if is_right else "left",
        fontsize=7,
    )


def _scale(axes: Axes, measure: QualityMeasure, values: Sequence[float]) -> None:
    if measure is NOISE:
        axes.set_ylabel("noise (mV)")
        if min(values, default=0) > 0 and max(values) > 20 * min(values):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            return
    elif measure in (SATURATED, HUM):
        axes.set_ylabel(f"{measure.title} (%)")
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g}")
    else:
        axes.set_ylabel(f"{measure.title} (SD)")
    top = max(*values, 1e-3) if values else 1.0
    axes.set_ylim(-0.08 * top, 1.3 * top)


def _legend(figure: Figure) -> None:
    handles = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
    labels = [standing.value for standing in RecordingStatus if standing.value in handles]
    shown = [handles[label] for label in labels]
    figure.legend(shown, labels, loc="outside upper right", ncols=len(labels), handletextpad=0.1, columnspacing=1.2)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
