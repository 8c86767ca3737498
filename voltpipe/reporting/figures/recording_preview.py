"""A small figure of a recording for its Dagster page, and a thumbnail of it for Dagster's database."""

from io import BytesIO

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from voltpipe.recordings.recording import Recording

_MAX_CHANNELS = 8
_PREVIEW_S = 1.0
_SPACING_SD = 8.0
_THUMBNAIL_PIXELS = 256


def recording_preview_png(recording: Recording) -> bytes:
    """Draw the first second of up to eight evenly spaced channels in mV, one above the other, as PNG.

    Samples that are not finite are omitted.
    """
    names = recording.channel_names
    channels = np.unique(np.linspace(0, len(names) - 1, min(len(names), _MAX_CHANNELS)).astype(int))
    n_samples = min(recording.n_samples, round(_PREVIEW_S * recording.rate_hz))
    voltage_mv = recording.read_mv(0, n_samples)[:, channels].astype(np.float64)
    finite = np.isfinite(voltage_mv)
    n_finite = np.maximum(finite.sum(axis=0), 1)
    voltage_mv -= np.where(finite, voltage_mv, 0).sum(axis=0) / n_finite
    sd_mv = np.sqrt((np.where(finite, voltage_mv, 0) ** 2).sum(axis=0) / n_finite)
    spacing_mv = _SPACING_SD * float(np.median(sd_mv)) or 1.0
    levels_mv = -spacing_mv * np.arange(len(channels))
    figure = Figure(figsize=(6.4, 0.4 + 0.4 * len(channels)), dpi=80, layout="constrained")
    axes = figure.subplots()
    time_s = np.arange(n_samples) / recording.rate_hz
    axes.plot(time_s, np.where(finite, voltage_mv, np.nan) + levels_mv, color="#0072b2", linewidth=0.6)
    axes.set_yticks(levels_mv, [names[channel] for channel in channels], fontsize=7, parse_math=False)
    axes.set_xlabel(f"time (s); channels are {spacing_mv:.3g} mV apart", fontsize=7)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right", "left"]].set_visible(False)
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def thumbnail_png(png: bytes) -> bytes:
    """Shrink a PNG to 256 pixels in width and two colors: about 1 KiB, and at most 8 KiB for a square figure."""
    with Image.open(BytesIO(png)) as full:
        height = round(full.height * _THUMBNAIL_PIXELS / full.width)
        small = full.convert("RGB").resize((_THUMBNAIL_PIXELS, height), Image.Resampling.LANCZOS)
    file = BytesIO()
    small.quantize(2, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()
