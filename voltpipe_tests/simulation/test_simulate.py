import pytest
from pydantic import ValidationError

from voltpipe.simulation.settings import Preparation, SimulationSettings
from voltpipe.simulation.simulate import simulate


@pytest.mark.slow
def test_a_warning_says_that_random_numbers_differ_without_a_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setenv("CXX", "no-such-compiler")
    settings = SimulationSettings(preparation=Preparation.BRUNEL, n_recordings=1, seconds=1.01)
    with pytest.warns(UserWarning, match=r"no C\+\+ compiler"):
        (recording,) = simulate(settings, tmp_path)
    assert recording.code_target == "numpy"
    assert recording.voltage_mv.shape == (1010, 100)


@pytest.mark.parametrize(
    "out_of_bounds", [{"n_recordings": 0}, {"n_recordings": 1001}, {"seconds": 1.0}, {"network_seed": -1}]
)
def test_settings_out_of_bounds_are_refused(out_of_bounds):
    with pytest.raises(ValidationError):
        SimulationSettings(**out_of_bounds)
