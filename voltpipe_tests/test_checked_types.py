"""Types and shapes are checked while tests run, also by the workers of pytest-xdist."""

import jaxtyping
import numpy as np
import pytest
import torch

from voltpipe.lake.keys import RecordingKey
from voltpipe.signals.running_statistics import ClippedRuns


def test_a_wrong_type_is_an_error():
    with pytest.raises(jaxtyping.TypeCheckError):
        RecordingKey.parse(3)


def test_a_wrong_shape_is_an_error():
    with pytest.raises(jaxtyping.TypeCheckError):
        ClippedRuns.add(None, np.zeros(5, np.float32), np.zeros(5, np.float32))


def test_torch_uses_one_thread_in_tests():
    assert torch.get_num_threads() == 1
