"""What the first convolution over time does to each channel's voltage, and which frequencies it lets through."""

import numpy as np
import pandas as pd
from scipy.signal import freqz

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.module import HasVoltageFilters

_N_FREQUENCIES = 65
_LEAST_GAIN = 1e-4


def filter_table(forecaster: Forecaster) -> pd.DataFrame:
    """A row for each filter and tap: `weight` is what the voltage `lag_ms` ago counts; none without convolution."""
    if not isinstance(forecaster.module, HasVoltageFilters):
        return pd.DataFrame({"filter": np.empty(0, np.int64), "lag_ms": np.empty(0), "weight": np.empty(0)})
    weights = forecaster.module.voltage_filters().detach().numpy()
    number, lag = np.indices(weights.shape)
    lag_ms = lag * 1000 / forecaster.config.rate_hz
    return pd.DataFrame({"filter": number.ravel(), "lag_ms": lag_ms.ravel(), "weight": weights.ravel()})


def response_table(filters: pd.DataFrame, rate_hz: float) -> pd.DataFrame:
    """The gain of each filter at frequencies up to half the rate, in dB (0: as strong as it came; -80 at least)."""
    responses = []
    for number, taps in filters.groupby("filter"):
        frequency_hz, response = freqz(taps["weight"], worN=_N_FREQUENCIES, fs=rate_hz, include_nyquist=True)
        gain_db = 20 * np.log10(np.maximum(np.abs(response), _LEAST_GAIN))
        responses.append(pd.DataFrame({"filter": number, "frequency_hz": frequency_hz, "gain_db": gain_db}))
    columns = ["filter", "frequency_hz", "gain_db"]
    return pd.concat(responses, ignore_index=True) if responses else pd.DataFrame(columns=columns, dtype=float)
