"""Scores a forecaster and its baselines on what was held out. Nothing is fitted here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from voltpipe.code_revision import code_revision
from voltpipe.evaluation.accumulators import ErrorSums, ForecasterSums
from voltpipe.evaluation.batching import batches_by_recording, predict_mv
from voltpipe.evaluation.figure_data import ErrorCounts, FigureData, choose_examples, choose_stretch, choose_worst
from voltpipe.evaluation.held_out_windows import forecaster_for_regime, regime_windows
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import Evaluation, EvaluationError, Provenance, Score
from voltpipe.forecasting.compute import cpu_threads, run_in_threads
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.inference.compatibility import check_conditioning, check_layout
from voltpipe.progress import NO_EVALUATION_PROGRESS, EpochRecord, EvaluationProgress
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet, to_mv


@dataclass(frozen=True)
class RegimeErrors:
    """Errors of one scoring pass over the strictest regime: what figure data are made of."""

    forecaster: Forecaster
    window_set: WindowSet
    regime: Regime
    windows: Int64[np.ndarray, " window"]
    r2_by_channel: dict[str, Float64[np.ndarray, "horizon channel"]]
    counts: ErrorCounts

    def detail(self, history: Sequence[EpochRecord] = ()) -> FigureData:
        """Choose what the figures show; `history` holds the training's epochs."""
        used = forecaster_for_regime(self.forecaster, self.window_set, self.regime)
        own_r2 = self.r2_by_channel[self.forecaster.config.architecture][0]
        shown = self.window_set, self.windows
        with torch.inference_mode(), cpu_threads(1):
            return FigureData(
                regime=self.regime,
                horizons=self.forecaster.horizons,
                channel_names=self.window_set.channel_names,
                channel_types=self.window_set.channel_types,
                r2_by_channel=self.r2_by_channel,
                error_edges_mv=self.counts.error_edges_mv,
                error_counts=self.counts.error_counts,
                joint_edges_mv=self.counts.joint_edges_mv,
                joint_counts=self.counts.joint_counts,
                examples=choose_examples(used, *shown, torch.cat(self.counts.window_squared_error)),
                worst=choose_worst(used, *shown, torch.cat(self.counts.largest_squared_error)),
                stretch=choose_stretch(used, *shown, own_r2),
                history=tuple(history),
            )


def score_forecaster(
    forecaster: Forecaster,
    window_set: WindowSet,
    baselines: Mapping[str, Forecaster],
    *,
    ceiling_r2: Mapping[int, float] | None = None,
    ceiling_standard_error: Mapping[int, float] | None = None,
    observable_ceiling_r2: Mapping[int, float] | None = None,
    training: Mapping[str, Any] | None = None,
    progress: EvaluationProgress = NO_EVALUATION_PROGRESS,
) -> tuple[Evaluation, RegimeErrors]:
    """Score a forecaster and its baselines on the same held-out windows, in each regime.

    Args:
        forecaster: named by its architecture.
        window_set: window set with held-out windows.
        baselines: by name, fitted on the same training rows.
        ceiling_r2: best possible R2 by horizon in samples, if the recordings are simulated.
        ceiling_standard_error: standard error of `ceiling_r2`.
        observable_ceiling_r2: R2 possible from 1 ms samples and the true connectivity, by horizon in samples.
        training: settings, device and duration of the training as JSON values, for provenance.
        progress: called after each recording.

    Returns:
        The scores, and the errors of the strictest regime that has windows, from which figure data are made.

    Raises:
        EvaluationError: nothing is held out, the windows are too short, or the forecaster returns NaN.
        ForecasterError: the forecaster needs another rate, other channels or another conditioning.
    """
    contenders = _contenders(forecaster, baselines)
    for key, contender in contenders.items():
        _check_fits(key, contender, window_set)
    windows = regime_windows(forecaster, window_set)
    if not windows:
        raise EvaluationError(
            "No window is held out. Expected windows in split 'test' or 'time'. Add recordings.",
            code="nothing-held-out",
        )
    strictest = next(iter(windows))
    counts = ErrorCounts.of(len(forecaster.horizons), window_set)
    sums = {
        regime: _score(contenders, window_set, regime, of_it, counts if regime == strictest else None, progress)
        for regime, of_it in windows.items()
    }
    with torch.inference_mode(), cpu_threads(1):
        evaluation = Evaluation(
            forecaster=forecaster.config.architecture,
            **_all_scores(contenders, sums, window_set),
            ceiling_r2=dict(ceiling_r2 or {}),
            ceiling_standard_error=dict(ceiling_standard_error or {}),
            observable_ceiling_r2=dict(observable_ceiling_r2 or {}),
            provenance=_provenance(forecaster, window_set, windows, training or {}),
        )
    r2_by_channel = {name: of_one.errors.r2_by_channel() for name, of_one in sums[strictest].items()}
    return evaluation, RegimeErrors(forecaster, window_set, strictest, windows[strictest], r2_by_channel, counts)


def _contenders(forecaster: Forecaster, baselines: Mapping[str, Forecaster]) -> dict[str, Forecaster]:
    """Name the forecaster by its architecture and put it first."""
    name = forecaster.config.architecture
    return {name: forecaster, **{key: value for key, value in baselines.items() if key != name}}


def _all_scores(
    contenders: Mapping[str, Forecaster], sums: Mapping[Regime, Mapping[str, ForecasterSums]], window_set: WindowSet
) -> dict[str, Any]:
    """Scores, distribution scores and errors by recording, of each contender in each regime."""
    found: dict[str, list[Any]] = {"scores": [], "distributions": [], "by_recording": []}
    for key, contender in contenders.items():
        for regime, of_regime in sums.items():
            own = of_regime[key]
            found["scores"] += _scores(key, regime, contender.horizons, own.errors)
            found["distributions"] += own.distribution.scores(key, regime) if own.distribution else ()
            found["by_recording"] += own.by_recording(key, regime, contender.horizons, window_set)
    return {name: tuple(values) for name, values in found.items()}


def _check_fits(name: str, forecaster: Forecaster, window_set: WindowSet) -> None:
    remedy = "Condition the recordings as in its training, or evaluate on others."
    check_conditioning(forecaster.config, "The window set", window_set.conditioning, remedy)
    for organoid in {recording.organoid for recording in window_set.recordings}:
        used = forecaster.for_recording(organoid, window_set.channel_names)
        check_layout(used, organoid, rate_hz=window_set.rate_hz, channel_names=window_set.channel_names)
    unknown = sorted(set(forecaster.horizons) - set(window_set.horizons))
    if unknown:
        raise EvaluationError(
            f"{name} forecasts {unknown} samples ahead, but the window set has targets at "
            f"{list(window_set.horizons)}. Add these horizons to the windows' settings.",
            code="horizons-not-in-windows",
        )
    if forecaster.config.context_samples > window_set.context:
        raise EvaluationError(
            f"{name} needs {forecaster.config.context_samples} samples of history, but the windows have "
            f"{window_set.context}. Build windows with a longer context.",
            code="context-too-short",
        )


def _score(
    contenders: Mapping[str, Forecaster],
    window_set: WindowSet,
    regime: Regime,
    windows: Int64[np.ndarray, " window"],
    counts: ErrorCounts | None,
    progress: EvaluationProgress,
) -> dict[str, ForecasterSums]:
    """One pass over the windows; `counts` takes in the errors of the first contender."""
    first = next(iter(contenders))
    used = {name: forecaster_for_regime(contender, window_set, regime) for name, contender in contenders.items()}
    recordings = window_set.index["recording"][windows]

    @torch.inference_mode()
    def on_recording(number: int) -> tuple[int, dict[str, ForecasterSums], ErrorCounts | None]:
        sums = {name: ForecasterSums.of(contender, window_set) for name, contender in contenders.items()}
        own_counts = counts.emptied() if counts else None
        for positions in batches_by_recording(windows[recordings == number], window_set):
            batch = window_set.batch(positions)
            samples_mv = _from_last_known_mv(window_set, positions)
            for name, contender in contenders.items():
                truth_mv = samples_mv[:, list(contender.horizons)]
                forecast_mv = predict_mv(used[name](number), batch)
                sums[name].add(samples_mv, forecast_mv, truth_mv, number)
                if own_counts and name == first:
                    own_counts.add(forecast_mv, truth_mv)
        return number, sums, own_counts

    total = {name: ForecasterSums.of(contender, window_set) for name, contender in contenders.items()}
    numbers = dict.fromkeys(recordings.tolist())
    for done, (number, sums, own_counts) in enumerate(run_in_threads(on_recording, numbers), start=1):
        for name, of_one in sums.items():
            total[name].include(of_one, number, window_set.channel_types)
        if counts and own_counts:
            counts.include(own_counts)
        progress(f"scored recordings ({regime})", done, len(numbers))
    return total


def _from_last_known_mv(
    window_set: WindowSet, positions: Int64[np.ndarray, " batch"]
) -> Float[Tensor, "batch time channel"]:
    """The samples of windows in mV, from the last of the history up to the largest horizon."""
    mean_mv, sd_mv = window_set.calibration_mv(window_set.index["recording"][positions])
    samples_z = window_set.segment(positions, window_set.settings.window_samples)[:, window_set.context - 1 :]
    return to_mv(samples_z, mean_mv, sd_mv)


def _scores(name: str, regime: Regime, horizons: Sequence[int], sums: ErrorSums) -> Iterator[Score]:
    r2, rmse_mv, mae_mv = sums.r2(), sums.rmse_mv(), sums.mae_mv()
    r2_channel_median = np.nanmedian(sums.r2_by_channel(), axis=1)
    for row, horizon in enumerate(horizons):
        yield Score(
            forecaster=name,
            regime=regime,
            horizon=horizon,
            r2=r2[row],
            r2_channel_median=r2_channel_median[row],
            rmse_mv=rmse_mv[row],
            mae_mv=mae_mv[row],
            n_targets=sums.n_targets,
        )


def _provenance(
    forecaster: Forecaster,
    window_set: WindowSet,
    windows: Mapping[Regime, Int64[np.ndarray, " window"]],
    training: Mapping[str, Any],
) -> Provenance:
    parts = {split.value: window_set.windows(split) for split in (Split.TRAIN, Split.VALIDATION)}
    parts |= {regime.value: positions for regime, positions in windows.items()}
    recordings = {
        name: tuple(window_set.recordings[number].key for number in np.unique(window_set.index["recording"][positions]))
        for name, positions in parts.items()
        if len(positions)
    }
    return Provenance(
        window_set_digest=window_set.digest,
        protocol=window_set.settings.protocol,
        preparation=window_set.manifest.preparation,
        organoids=tuple(window_set.manifest.organoids),
        recordings=recordings,
        n_channels=window_set.n_channels,
        rate_hz=window_set.rate_hz,
        trained_on=forecaster.config.organoids,
        settings={
            "windows": window_set.settings.model_dump(mode="json"),
            "architecture": {"name": forecaster.config.architecture, **forecaster.config.architecture_settings},
            "training": dict(training),
        },
        code_revision=code_revision(),
        created_utc=datetime.now(UTC),
    )
