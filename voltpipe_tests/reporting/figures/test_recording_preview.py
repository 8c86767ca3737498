"""Tests of the recording preview and its thumbnail."""

from io import BytesIO

import matplotlib.image
import numpy as np
import pytest

from voltpipe.lake.keys import RecordingKey
from voltpipe.recordings.conditioning.condition import condition
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.recordings.store.conditioned_recording import open_conditioned
from voltpipe.reporting.figures.recording_preview import recording_preview_png, thumbnail_png


@pytest.mark.parametrize("n_channels", [1, 12])
def test_up_to_eight_channels_are_drawn(recording_of, make_signal, tmp_path, n_channels):
    signal_mv = np.hstack([make_signal(5000, seed=seed) for seed in range(4)])[:, :n_channels]
    path = tmp_path / "run.parquet"
    condition(
        recording_of(signal_mv), path, ConditioningSettings(), key=RecordingKey("org", "run"), source_digest="d" * 64
    )
    image = matplotlib.image.imread(BytesIO(recording_preview_png(open_conditioned(path))))
    assert image.shape[1] == 512
    assert image.shape[0] == round(80 * (0.4 + 0.4 * min(n_channels, 8)))
    drawn = np.abs(image[..., :3] - [0, 0x72 / 255, 0xB2 / 255]).max(axis=2) < 0.1
    assert drawn.mean() > 0.01


def test_channels_that_are_not_finite_flat_or_oddly_named_are_drawn(recording_of, signal_mv):
    signal_mv[:500, 0] = np.nan
    signal_mv[3, 1] = np.inf
    signal_mv[:, 2] = -55
    names = ("$\\frac$", "a_b^{", "c")
    image = matplotlib.image.imread(BytesIO(recording_preview_png(recording_of(signal_mv, channel_names=names))))
    assert image.shape[:2] == (round(80 * 1.6), 512)


def test_a_thumbnail_shows_the_lines_in_two_kibibytes(recording_of, make_signal):
    png = recording_preview_png(recording_of(np.hstack([make_signal(5000, seed=seed) for seed in range(4)])))
    small = thumbnail_png(png)
    assert len(small) < 2048 < len(png)
    image = matplotlib.image.imread(BytesIO(small))
    full = matplotlib.image.imread(BytesIO(png))
    assert image.shape[1] == 256
    assert image.shape[0] == round(full.shape[0] / 2)
    rgb = image[..., :3].reshape(-1, 3)
    assert len(np.unique(rgb, axis=0)) == 2
    inked = rgb.mean(axis=1) < rgb.mean(axis=1).max()
    assert 0.01 < inked.mean() < 0.3
