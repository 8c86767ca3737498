"""The figures of the lake's page: when each organoid was recorded, and how good its recordings are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from voltpipe.recordings.raw.catalogue import RecordingRecord, RecordingStatus
from voltpipe.reporting.figures.figure_style import FAINT, GROUPS, WARNING, RenderedFigure, new_figure, render

UNKNOWN = "\N{EN DASH}"


@dataclass(frozen=True)
class QualityMeasure:
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


NOISE = QualityMeasure(
    "noise",
    "noise",
    "median channel's noise (MAD, as an SD); red where another channel's is far from it",
    ("median_noise_mv",),
    voltage_text,
)
SATURATED = QualityMeasure(
    "clipping",
    "saturated",
    "largest share of a channel's samples that stand at its extreme",
    ("largest_clipped_share",),
    share_text,
)
HUM = QualityMeasure(
    "hum",
    "hum",
    "largest share of a channel's variance at 50 or 60 Hz",
    ("largest_share_50_hz", "largest_share_60_hz"),
    share_text,
)
DRIFT = QualityMeasure(
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
    QualityMeasure("gaps", "gaps", "gaps in time", ("gaps",), "{:,.0f}".format),
    QualityMeasure("dropped", "dropped", "samples missing between time stamps", ("dropped_samples",), "{:,.0f}".format),
    QualityMeasure("flat", "flat", "channels that never change", ("flat_channels",), "{:,.0f}".format),
)
DRAWN = (NOISE, SATURATED, HUM, DRIFT)


COVERAGE, QUALITY = "coverage", "quality"
_MOST_ORGANOIDS = 24
MOST_VECTORS = 600
"""More marks than this make a picture of a figure's data, so that the page stays small."""
_LONGEST_NAME = 22
_MARKS = {
    RecordingStatus.OK: ("o", GROUPS[0]),
    RecordingStatus.WARN: ("^", GROUPS[4]),
    RecordingStatus.QUARANTINED: ("X", WARNING),
}

Mark = tuple[int | float, int | float, RecordingStatus]
"""Where it stands, and what it says."""


def lake_figures(entries: Sequence[RecordingRecord]) -> dict[str, RenderedFigure]:
    """All figures that the recordings have something to show for, by name."""
    dated = sorted((entry for entry in entries if entry.seen), key=_day)
    measured = [entry for entry in dated if entry.report]
    drawn = {}
    if dated:
        shown = _latest_organoids(dated)
        n_organoids = len({entry.key.organoid for entry in dated})
        some = f", the {len(shown)} of {n_organoids} recorded last" if len(shown) < n_organoids else ""
        drawn[COVERAGE] = render(
            COVERAGE,
            lambda: draw_coverage(dated, shown),
            title="When each organoid was recorded",
            subtitle=f"{len(dated):,} recordings",
            caption=f"A mark for each recording, a row for each organoid{some}. Where a file does not say when it was "
            "recorded, the date at which it was last changed stands for it.",
            basis=f"dates · {len(dated):,} recordings",
        )
    if measured:
        drawn[QUALITY] = render(
            QUALITY,
            lambda: draw_quality(measured),
            title="Quality, from the oldest recording to the newest",
            subtitle=f"{len(measured):,} recordings",
            caption="From above: noise of the median channel (MAD, as an SD); of the worst channel, the share of "
            "samples that stand at its extreme, the share of its variance that is mains hum, and how far its mean "
            "wanders from where it began. A triangle: this very figure is warned of; the worst is named. A cross: not "
            "used, for whatever reason. What rises from some recording on tells when a rig or a preparation changed.",
            basis=f"units on the axes · {len(measured):,} recordings",
        )
    return drawn


def _day(entry: RecordingRecord) -> float:
    """When it was recorded, in days as matplotlib counts them."""
    assert entry.seen is not None
    return entry.seen.recorded_at.timestamp() / 86_400


def _latest_organoids(dated: Sequence[RecordingRecord]) -> list[str]:
    """Those recorded last, in order of their names."""
    latest = list(dict.fromkeys(entry.key.organoid for entry in reversed(dated)))
    return sorted(latest[:_MOST_ORGANOIDS])


def draw_coverage(dated: Sequence[RecordingRecord], organoids: Sequence[str]) -> Figure:
    """A row an organoid, a mark a recording at its date."""
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
    """A panel for each measure, a mark for each recording; the worst that failed the measure's check is named."""
    figure = new_figure(0.6 + 1.15 * len(DRAWN))
    panels = figure.subplots(len(DRAWN), 1, sharex=True)
    for axes, measure in zip(panels, DRAWN, strict=True):
        marks = [
            (number, value, _said(entry, measure))
            for number, entry in enumerate(measured, 1)
            if (value := measure.value(entry)) is not None
        ]
        _mark(axes, marks)
        _scale(axes, measure, [value for _, value, _ in marks])
        failed = [(value, number) for number, value, _ in marks if _failed(measured[number - 1], measure)]
        if failed:
            value, number = max(failed)
            _name(axes, str(measured[number - 1].key), (number, value), is_right=number > len(measured) / 2)
    panels[-1].set_xlabel("recordings, the newest on the right")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    _legend(figure)
    return figure


def _failed(entry: RecordingRecord, measure: QualityMeasure) -> bool:
    return any(doubt.name == measure.check for doubt in entry.doubts)


def _said(entry: RecordingRecord, measure: QualityMeasure) -> RecordingStatus:
    if entry.standing is RecordingStatus.QUARANTINED:
        return RecordingStatus.QUARANTINED
    return RecordingStatus.WARN if _failed(entry, measure) else RecordingStatus.OK


def _mark(axes: Axes, marks: Sequence[Mark]) -> None:
    many = len(marks) > MOST_VECTORS
    for standing, (marker, colour) in _MARKS.items():
        some = [mark for mark in marks if mark[2] is standing]
        if some:
            axes.plot(
                [x for x, _, _ in some],
                [y for _, y, _ in some],
                linestyle="none",
                marker=marker,
                markersize=(2.5 if many else 4.0) + (0.0 if standing is RecordingStatus.OK else 1.5),
                markeredgewidth=0,
                color=colour,
                alpha=0.8,
                label=standing.value,
                rasterized=many,
            )


def _name(axes: Axes, name: str, place: tuple[int, float], *, is_right: bool) -> None:
    """Say whose mark it is, where there is room."""
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
