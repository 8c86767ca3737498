"""Registry of all modules by the name that is saved with their weights."""

from collections.abc import Mapping
from types import MappingProxyType

from voltpipe.forecasting.architectures.attention import Attention
from voltpipe.forecasting.architectures.coupled_cnn_lstm import CoupledCnnLstm
from voltpipe.forecasting.architectures.lagged_cnn_lstm import LaggedCnnLstm
from voltpipe.forecasting.architectures.lstm import CnnLstm, Lstm, LstmLarge, LstmResidual
from voltpipe.forecasting.architectures.multi_scale import MultiScale
from voltpipe.forecasting.architectures.shared_cnn_lstm import SharedCnnLstm
from voltpipe.forecasting.architectures.state_space import StateSpace
from voltpipe.forecasting.baselines.autoregression import Autoregression, VectorAutoregression
from voltpipe.forecasting.baselines.lagged_regression import LaggedRegression
from voltpipe.forecasting.baselines.lookup_table import LookupTable
from voltpipe.forecasting.baselines.persistence import Persistence
from voltpipe.forecasting.forecast_module import ForecastModule, TrainableModule
from voltpipe.forecasting.settings import Architecture
from voltpipe.signals.spike_detection import find_reset_voltage
from voltpipe.windows.split_segments import training_samples_mv
from voltpipe.windows.window_set import WindowSet

ARCHITECTURES: Mapping[str, type[TrainableModule]] = MappingProxyType(
    {
        Architecture.LSTM: Lstm,
        Architecture.LSTM_LARGE: LstmLarge,
        Architecture.LSTM_RESIDUAL: LstmResidual,
        Architecture.CNN_LSTM: CnnLstm,
        Architecture.SHARED_CNN_LSTM: SharedCnnLstm,
        Architecture.COUPLED_CNN_LSTM: CoupledCnnLstm,
        Architecture.LAGGED_CNN_LSTM: LaggedCnnLstm,
        Architecture.ATTENTION: Attention,
        Architecture.MULTI_SCALE: MultiScale,
        Architecture.STATE_SPACE: StateSpace,
    }
)
BASELINES: Mapping[str, type[ForecastModule]] = MappingProxyType(
    {
        "persistence": Persistence,
        "autoregression": Autoregression,
        "look_up": LookupTable,
        "vector_autoregression": VectorAutoregression,
    }
)
MODULES: Mapping[str, type[ForecastModule]] = MappingProxyType(
    {**BASELINES, "lagged_regression": LaggedRegression, **ARCHITECTURES}
)


def suitable_architecture(name: str, window_set: WindowSet) -> str:
    """Return the architecture to use: lagged_cnn_lstm replaces coupled_cnn_lstm if no spikes are visible."""
    if name != Architecture.COUPLED_CNN_LSTM or find_reset_voltage(training_samples_mv(window_set)):
        return str(name)
    return Architecture.LAGGED_CNN_LSTM.value
