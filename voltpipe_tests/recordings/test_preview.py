"""The picture of a conditioned recording on its asset's page."""

from io import BytesIO

import matplotlib.image
import numpy as np
import pytest

from voltpipe.lake import RecordingKey
from voltpipe.recordings.conditioning import condition
from voltpipe.recordings.preview import preview_png
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.recordings.store import open_conditioned


@pytest.mark.parametrize("n_channels", [1, 12])
def test_up_to_eight_channels_are_drawn(recording_of, make_signal, tmp_path, n_channels):
    signal_mv = np.hstack([make_signal(5000, seed=seed) for seed in range(4)])[:, :n_channels]
    path = tmp_path / "run.parquet"
    condition(
        recording_of(signal_mv), path, ConditioningSettings(), key=RecordingKey("org", "run"), source_digest="d" * 64
    )
    picture = matplotlib.image.imread(BytesIO(preview_png(open_conditioned(path))))
    assert picture.shape[1] == 512
    assert picture.shape[0] == round(80 * (0.4 + 0.4 * min(n_channels, 8)))
    drawn = np.abs(picture[..., :3] - [0, 0x72 / 255, 0xB2 / 255]).max(axis=2) < 0.1
    assert drawn.mean() > 0.01
