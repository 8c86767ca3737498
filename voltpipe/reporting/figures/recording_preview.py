"""A small figure of a recording for its asset's page, and a thumbnail of that for Dagster's database."""

from io import BytesIO

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from voltpipe.recordings.recording import Recording

_MOST_CHANNELS = 8
_SHOWN_S = 1.0
_SPACING_SD = 8.0
_THUMBNAIL_PIXELS = 256


def recording_preview_png(recording: Recording) -> bytes:
    """The first second of up to eight channels spread over the recording's, one above the other, in mV, as PNG.

    What is not finite is left out.
    """
    names = recording.channel_names
    shown = np.unique(np.linspace(0, len(names) - 1, min(len(names), _MOST_CHANNELS)).astype(int))
    n_samples = min(recording.n_samples, round(_SHOWN_S * recording.rate_hz))
    voltage_mv = recording.read_mv(0, n_samples)[:, shown].astype(np.float64)
    finite = np.isfinite(voltage_mv)
    n_finite = np.maximum(finite.sum(axis=0), 1)
    voltage_mv -= np.where(finite, voltage_mv, 0).sum(axis=0) / n_finite
    sd_mv = np.sqrt((np.where(finite, voltage_mv, 0) ** 2).sum(axis=0) / n_finite)
    spacing_mv = _SPACING_SD * float(np.median(sd_mv)) or 1.0
    levels_mv = -spacing_mv * np.arange(len(shown))
    figure = Figure(figsize=(6.4, 0.4 + 0.4 * len(shown)), dpi=80, layout="constrained")
    axes = figure.subplots()
    time_s = np.arange(n_samples) / recording.rate_hz
    axes.plot(time_s, np.where(finite, voltage_mv, np.nan) + levels_mv, color="#0072b2", linewidth=0.6)
    axes.set_yticks(levels_mv, [names[channel] for channel in shown], fontsize=7, parse_math=False)
    axes.set_xlabel(f"s from its beginning; channels {spacing_mv:.3g} mV apart", fontsize=7)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right", "left"]].set_visible(False)
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def thumbnail_png(png: bytes) -> bytes:
    """Shrink a figure to 256 pixels across in two colours, as PNG: about 1 KiB, and at most 8 for a square figure."""
    with Image.open(BytesIO(png)) as picture:
        height = round(picture.height * _THUMBNAIL_PIXELS / picture.width)
        small = picture.convert("RGB").resize((_THUMBNAIL_PIXELS, height), Image.Resampling.LANCZOS)
    file = BytesIO()
    small.quantize(2, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()
