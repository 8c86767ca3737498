"""The figure of how long a roll-out follows the truth."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from voltpipe.evaluation.diagnosis.following import DISTANCE, LEAD, SPIKES
from voltpipe.evaluation.drawing import FAINT, FORECASTER, RenderedFigure, new_figure, render

FOLLOWING = "following"
_OWN, _SHUFFLED = "what followed", "another recording"


def following_figure(table: pd.DataFrame, *, subtitle: str) -> RenderedFigure:
    """Distance from the truth over time, and how many spikes are hit."""
    return render(
        FOLLOWING,
        lambda: draw_following(table),
        title="How long does a single run follow the truth?",
        subtitle=subtitle,
        caption="The forecaster ran free from moments of held-out recordings. Left: how far it is from what followed "
        "there, and for comparison from what followed in another recording; where the two lines meet (shaded: the 95% "
        "interval of when), it says no more of this recording than of any. Right, where spikes are seen: how well its "
        "spikes hit those recorded within 2 ms, over all time up to each moment; 1 is a copy.",
        basis=f"RMS difference in mV; F1 of spikes · {int(table['n_starts'].iloc[0])} starts, bands are 95% intervals "
        "over starts",
    )


def draw_following(table: pd.DataFrame) -> Figure:
    """A panel for the voltage, and one for spikes where there are any."""
    has_spikes = bool((table["measure"] == SPIKES).any())
    figure = new_figure(2.6)
    panels = np.atleast_1d(figure.subplots(1, 1 + has_spikes, width_ratios=(3, 2)[: 1 + has_spikes]))
    _draw_pair(panels[0], table[table["measure"] == DISTANCE], marker="")
    lead = table[table["measure"] == LEAD].iloc[0]
    panels[0].axvspan(lead["own_low"], lead["own_high"], color=FAINT, alpha=0.2, linewidth=0)
    panels[0].set(xlabel="ms after the start", ylabel="distance (mV)", xlim=(0, None), ylim=(0, None))
    panels[0].legend(loc="lower right", title="distance from", title_fontsize=8)
    if has_spikes:
        _draw_pair(panels[1], table[table["measure"] == SPIKES], marker="o")
        panels[1].set(xlabel="ms after the start", ylabel="spikes hit (F1)", xlim=(0, None), ylim=(0, None))
    return figure


def _draw_pair(axes: Axes, rows: pd.DataFrame, *, marker: str) -> None:
    for name, label, colour in (("own", _OWN, FORECASTER), ("shuffled", _SHUFFLED, FAINT)):
        axes.plot(rows["time_ms"], rows[name], marker=marker, markersize=3, color=colour, label=label)
        axes.fill_between(
            rows["time_ms"], rows[f"{name}_low"], rows[f"{name}_high"], color=colour, alpha=0.2, linewidth=0
        )
