"""Everything that can stand inside a forecaster, by the name that is saved with the weights."""

from collections.abc import Mapping
from types import MappingProxyType

from voltpipe.forecasting.architectures.attention import Attention
from voltpipe.forecasting.architectures.cnn_lstm import CnnLstm
from voltpipe.forecasting.architectures.coupled_cnn_lstm import CoupledCnnLstm
from voltpipe.forecasting.architectures.lstm import Lstm, LstmLarge, LstmResidual
from voltpipe.forecasting.architectures.multi_scale import MultiScale
from voltpipe.forecasting.architectures.shared_cnn_lstm import SharedCnnLstm
from voltpipe.forecasting.architectures.state_space import StateSpace
from voltpipe.forecasting.baselines.autoregression import Autoregression
from voltpipe.forecasting.baselines.lagged_regression import LaggedRegression
from voltpipe.forecasting.baselines.look_up import LookUp
from voltpipe.forecasting.baselines.persistence import Persistence
from voltpipe.forecasting.baselines.vector_autoregression import VectorAutoregression
from voltpipe.forecasting.module import ForecastModule, TrainedModule
from voltpipe.forecasting.settings import Architecture

ARCHITECTURES: Mapping[str, type[TrainedModule]] = MappingProxyType(
    {
        Architecture.LSTM: Lstm,
        Architecture.LSTM_LARGE: LstmLarge,
        Architecture.LSTM_RESIDUAL: LstmResidual,
        Architecture.CNN_LSTM: CnnLstm,
        Architecture.SHARED_CNN_LSTM: SharedCnnLstm,
        Architecture.COUPLED_CNN_LSTM: CoupledCnnLstm,
        Architecture.ATTENTION: Attention,
        Architecture.MULTI_SCALE: MultiScale,
        Architecture.STATE_SPACE: StateSpace,
    }
)
BASELINES: Mapping[str, type[ForecastModule]] = MappingProxyType(
    {
        "persistence": Persistence,
        "autoregression": Autoregression,
        "look_up": LookUp,
        "vector_autoregression": VectorAutoregression,
    }
)
MODULES: Mapping[str, type[ForecastModule]] = MappingProxyType(
    {**BASELINES, "lagged_regression": LaggedRegression, **ARCHITECTURES}
)
