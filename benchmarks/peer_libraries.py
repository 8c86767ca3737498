"""Models of other libraries, trained and scored by `peers.py`: 150 samples in, 20 out, library defaults.

The libraries imported here are not dependencies of voltpipe; `peers.py` explains how to install them.
"""

import importlib.util
import logging
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

DARTS_SERIES_PER_STEP = 1024
POCO_FILE = Path("zapbench_scripts") / "standalone_poco.py"
POCO_TOKEN_SAMPLES = 16


@dataclass(frozen=True)
class Sizes:
    """Sizes of a window, and the seed of the initial weights."""

    context: int
    horizon: int
    channels: int
    seed: int


class Peer(nn.Module, ABC):
    """A library's model, in units of the training samples' SD.

    Args:
        inner: the library's module, whose weights are trained.
        univariate: whether a series is a single channel, instead of all channels.
        series_per_step: number of series in an optimizer step.
        optimizer: the optimizer, with the library's settings.
        clip_norm: largest norm of the gradient; None for no clipping.
    """

    def __init__(
        self,
        inner: nn.Module,
        *,
        univariate: bool,
        series_per_step: int,
        optimizer: torch.optim.Optimizer,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__()
        self.inner, self.univariate, self.series_per_step = inner, univariate, series_per_step
        self.optimizer, self.clip_norm = optimizer, clip_norm

    @abstractmethod
    def forecast(self, history: Tensor, n_samples: int) -> Tensor:
        """Forecast the next samples, (batch, time, series), from a history, (batch, context, series)."""

    def loss(self, window: Tensor, context: int) -> Tensor:
        """Return the mean squared error of the forecast on a window, (batch, context + horizon, series)."""
        future = window[:, context:]
        return functional.mse_loss(self.forecast(window[:, :context], future.shape[1]), future)


class Direct(Peer):
    """A model that forecasts all samples at once, by `call(inner, history)`."""

    def __init__(self, call: Callable[[nn.Module, Tensor], Tensor], inner: nn.Module, **kwargs) -> None:  # noqa: ANN003
        super().__init__(inner, **kwargs)
        self.call = call

    def forecast(self, history: Tensor, n_samples: int) -> Tensor:
        """Forecast as the library does."""
        return self.call(self.inner, history)


class Recursive(Peer):
    """A model that is rolled out on its own forecasts, by `step(inner, samples, state)`.

    Args:
        step: returns forecasts one sample ahead, and the state.
        inner: the library's module.
        every_step: whether training forecasts every sample of a window, instead of only the first after the context.
    """

    def __init__(self, step: Callable, inner: nn.Module, *, every_step: bool, **kwargs) -> None:  # noqa: ANN003
        super().__init__(inner, **kwargs)
        self.step, self.every_step = step, every_step

    def forecast(self, history: Tensor, n_samples: int) -> Tensor:
        """Roll out."""
        output, state = self.step(self.inner, history, None)
        samples = [output[:, -1:]]
        while len(samples) < n_samples:
            output, state = self.step(self.inner, samples[-1], state)
            samples.append(output)
        return torch.cat(samples, 1)

    def loss(self, window: Tensor, context: int) -> Tensor:
        """Return the mean squared error one sample ahead."""
        if self.every_step:
            return functional.mse_loss(self.step(self.inner, window[:, :-1], None)[0], window[:, 1:])
        return functional.mse_loss(self.step(self.inner, window[:, :context], None)[0][:, -1], window[:, context])


def _silence_lightning() -> None:
    """Silence the loggers of Lightning. Call this after its import, which configures them."""
    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _neuralforecast(name: str, sizes: Sizes, **options: object) -> Peer:
    from neuralforecast import models

    _silence_lightning()
    multivariate = name in {"TSMixer", "iTransformer"}
    if multivariate:
        options["n_series"] = sizes.channels
    model = getattr(models, name)(h=sizes.horizon, input_size=sizes.context, random_seed=sizes.seed, **options)
    kwargs = {
        "univariate": not multivariate,
        "series_per_step": model.windows_batch_size,
        "optimizer": torch.optim.Adam(model.parameters(), lr=model.learning_rate),
    }
    if options.get("recurrent"):
        warnings.filterwarnings("ignore", message="LSTM with projections")  # torch warns that it is slow
        return Recursive(lambda inner, x, state: inner.hist_encoder(x, state), model, every_step=False, **kwargs)
    return Direct(_call_neuralforecast, model, **kwargs)


def _call_neuralforecast(inner: nn.Module, history: Tensor) -> Tensor:
    absent = {"futr_exog": None, "hist_exog": None, "stat_exog": None}
    return inner({"insample_y": history, "insample_mask": torch.ones_like(history), **absent})


def _darts(name: str, sizes: Sizes, *, univariate: bool, **options: object) -> Peer:
    from darts import TimeSeries, models

    _silence_lightning()
    trainer = {"max_steps": 1, "accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    trainer |= {"enable_model_summary": False, "enable_checkpointing": False}
    model = getattr(models, name)(
        input_chunk_length=sizes.context, pl_trainer_kwargs=trainer, random_state=sizes.seed, **options
    )
    n_samples, n_series = 2 * (sizes.context + sizes.horizon), 1 if univariate else sizes.channels
    noise = np.random.default_rng(sizes.seed).standard_normal((n_samples, n_series)).astype(np.float32)
    with warnings.catch_warnings(action="ignore"):
        model.fit(TimeSeries.from_values(noise))  # one step on noise, since only `fit` builds the module
    inner = model.model
    kwargs = {
        "univariate": univariate,
        "series_per_step": DARTS_SERIES_PER_STEP if univariate else model.batch_size,
        "optimizer": inner.optimizer_cls(inner.parameters(), **{"lr": 1e-3, **inner.optimizer_kwargs}),
    }
    if name == "RNNModel":
        return Recursive(_step_darts, inner, every_step=True, **kwargs)
    return Direct(_call_darts, inner, **kwargs)


def _call_darts(inner: nn.Module, history: Tensor) -> Tensor:
    from darts.utils.data.torch_datasets.utils import PLModuleInput

    return inner(PLModuleInput(past_target=history)).prediction.squeeze(-1)


def _step_darts(inner: nn.Module, samples: Tensor, state: object) -> tuple[Tensor, object]:
    hidden, state = inner.rnn(samples, state)
    return inner.V(hidden), state


def _poco(sizes: Sizes, checkout: Path) -> Peer:
    torch.manual_seed(sizes.seed)
    library = _import_poco(checkout / POCO_FILE)
    config = library.NeuralPredictionConfig()
    config.seq_length, config.pred_length = sizes.context + sizes.horizon, sizes.horizon
    config.decoder_context_length = sizes.context // POCO_TOKEN_SAMPLES * POCO_TOKEN_SAMPLES
    inner = library.POCO(config, [[sizes.channels]])
    return Direct(
        lambda inner, history: inner([history.transpose(0, 1)])[0].transpose(0, 1),
        inner,
        univariate=False,
        series_per_step=64,
        optimizer=torch.optim.AdamW(inner.parameters(), lr=3e-4, weight_decay=1e-4),
        clip_norm=5.0,
    )


class _AnyTensor:
    """A tensor of any shape, in annotations."""

    def __class_getitem__(cls, shape: object) -> type[Tensor]:
        return Tensor


def _import_poco(path: Path) -> ModuleType:
    """Import POCO's stand-alone file without torchtyping (annotations only) and xformers (no CPU kernel)."""
    sys.modules["torchtyping"] = SimpleNamespace(TensorType=_AnyTensor)  # type: ignore[assignment]
    spec = importlib.util.spec_from_file_location("standalone_poco", path)
    assert spec
    assert spec.loader
    library = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(library)
    blocks = SimpleNamespace(from_seqlens=lambda q_seqlen, kv_seqlen=None: len(q_seqlen))
    library.xops = SimpleNamespace(
        fmha=SimpleNamespace(BlockDiagonalMask=blocks), memory_efficient_attention=_block_attention
    )
    return library


def _block_attention(q: Tensor, k: Tensor, v: Tensor, *, attn_bias: int, p: float) -> Tensor:
    """Attend within each of `attn_bias` blocks of equal length; shape (1, sequence, head, feature), as in xformers."""
    blocks = (tensor.reshape(attn_bias, -1, *tensor.shape[2:]).transpose(1, 2) for tensor in (q, k, v))
    return functional.scaled_dot_product_attention(*blocks, dropout_p=p).transpose(1, 2).reshape(q.shape)


PEERS: dict[str, Callable[[Sizes], Peer]] = {
    "neuralforecast-lstm": lambda sizes: _neuralforecast("LSTM", sizes, scaler_type="identity"),
    "neuralforecast-lstm-recurrent": lambda sizes: _neuralforecast(
        "LSTM", sizes, scaler_type="identity", recurrent=True
    ),
    "neuralforecast-nhits": lambda sizes: _neuralforecast("NHITS", sizes),
    "neuralforecast-tsmixer": lambda sizes: _neuralforecast("TSMixer", sizes),
    "neuralforecast-itransformer": lambda sizes: _neuralforecast("iTransformer", sizes),
    "neuralforecast-nlinear": lambda sizes: _neuralforecast("NLinear", sizes),
    "darts-lstm": lambda sizes: _darts(
        "RNNModel", sizes, univariate=True, model="LSTM", training_length=sizes.context + sizes.horizon
    ),
    "darts-nhits": lambda sizes: _darts("NHiTSModel", sizes, univariate=True, output_chunk_length=sizes.horizon),
    "darts-tsmixer": lambda sizes: _darts("TSMixerModel", sizes, univariate=False, output_chunk_length=sizes.horizon),
    "darts-nlinear": lambda sizes: _darts("NLinearModel", sizes, univariate=True, output_chunk_length=sizes.horizon),
}


def available_peers(poco: Path | None) -> tuple[dict[str, Callable[[Sizes], Peer]], list[str]]:
    """Return the peers that can be built, by name, and a line for each library that is missing."""
    missing = [library for library in ("neuralforecast", "darts") if not importlib.util.find_spec(library)]
    peers = {name: build for name, build in PEERS.items() if name.split("-")[0] not in missing}
    lines = [f"{library}: skipped, not installed" for library in missing]
    if poco and (poco / POCO_FILE).exists():
        peers["poco"] = lambda sizes: _poco(sizes, poco)
    else:
        lines.append("poco: skipped, --poco names no checkout of it")
    return peers, lines
