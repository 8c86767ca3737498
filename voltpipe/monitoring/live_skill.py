"""Live skill: scores of the champion on recordings made after its training, computed once and stored as Parquet."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from voltpipe.errors import VoltpipeError
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.lake.files import atomic_write, read_json, write_json
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.monitoring.channel_drift import channel_drift, channel_statistics, find_recording_reset_mv
from voltpipe.monitoring.live_scoring import score_live_recording
from voltpipe.monitoring.settings import LiveSkillSettings
from voltpipe.monitoring.skill_decay import LiveScore, SkillDecay, skill_decay
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.store.conditioned_recording import ConditionedRecording, conditioned_paths, open_conditioned
from voltpipe.signals.spike_detection import ResetVoltage
from voltpipe.tracking.lineage import lineages, logged_evaluation
from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.model_registry import RegisteredForecaster, load_forecaster, serving_version
from voltpipe.windows.window_set import WindowSet, window_set_folder_name

SCORES_FILE, DRIFT_FILE, DECAYS_FILE = "scores.parquet", "drift.parquet", "decays.json"
CHAMPION = "champion"
"""Value of the column `forecaster` in the champion's rows."""
_BASELINES = ("persistence", "look_up")


@dataclass(frozen=True)
class LiveSkill:
    """Scores, drift and decay of the champion since its training."""

    version: str | None
    """Version of the champion; None if there is none."""
    scores: pd.DataFrame
    """Scores of all versions, a row for each version, recording, forecaster and horizon.

    Forecasters are `champion`, `persistence` and `look_up`. Columns: `version`, `recording`, `organoid`, `digest`,
    `scored_utc`, `forecaster`, `horizon_ms`, `r2`, `squared_error_mv2`, `total_mv2`, `n_targets`."""
    drift: pd.DataFrame
    """Drift, a row for each recording and version.

    Columns: the shares of channels that drifted by `mean_mv`, `sd_mv`, `spikes_per_s` and `any`, and `drifted`."""
    expected_r2: Mapping[str, float]
    """The champion's mean R2 on held-out recordings, by organoid."""
    decays: tuple[SkillDecay, ...]
    """Result of `skill_decay` for each organoid."""
    refused: Mapping[str, str]
    """Reasons why recordings could not be scored, by key."""

    def of_version(self) -> pd.DataFrame:
        """Return the scores of the present champion."""
        return self.scores[self.scores["version"] == self.version]


def read_live_skill(lake: Lake, store: TrackingStore, settings: LiveSkillSettings) -> LiveSkill:
    """Read the stored scores without scoring anything."""
    present = serving_version(store)
    scores, drifts = _read(lake, SCORES_FILE), _read(lake, DRIFT_FILE)
    if present is None:
        return LiveSkill(None, scores, drifts, {}, (), {})
    expected = _expected_r2(store, present)
    live = [LiveScore(key, r2) for key, r2 in mean_r2(scores, present.version).items()]
    return LiveSkill(present.version, scores, drifts, expected, skill_decay(live, expected, settings), {})


def update_live_skill(lake: Lake, store: TrackingStore, settings: LiveSkillSettings) -> LiveSkill:
    """Score the champion on each recording that it was not trained or evaluated on and that has no score yet."""
    present = serving_version(store)
    if present is None:
        return read_live_skill(lake, store, settings)
    known = lineages(store, present.run_id)
    recordings, refused = _open_recordings(lake)
    scores = _read(lake, SCORES_FILE)
    done = set(scores.loc[scores["version"] == present.version, "digest"]) if len(scores) else set()
    due = {
        key: recording
        for key, recording in recordings.items()
        if recording.source_digest not in done and not any(lineage.knew(recording.source_digest) for lineage in known)
    }
    if due:
        forecaster = load_forecaster(present.uri, store)
        forecasters = {CHAMPION: forecaster, **_baselines(lake, store, present, forecaster)}
        learned_from = {
            key: recordings[key] for key in recordings if any(k.knew(recordings[key].source_digest) for k in known)
        }
        new_scores, new_drifts = [], []
        for key, recording in due.items():
            try:
                new_scores.append(_score(forecasters, recording, key, present.version, settings))
            except VoltpipeError as error:
                refused[key] = str(error)
                continue
            new_drifts.append(_measure_drift(lake, recording, key, present.version, learned_from, settings))
        _append(lake, SCORES_FILE, new_scores)
        _append(lake, DRIFT_FILE, new_drifts)
    found = read_live_skill(lake, store, settings)
    write_json(
        lake.live_skill / DECAYS_FILE, {"version": found.version, "decays": list(map(_decay_json, found.decays))}
    )
    return LiveSkill(found.version, found.scores, found.drift, found.expected_r2, found.decays, refused)


def decayed_organoids(lake: Lake, version: str) -> tuple[str, ...]:
    """Return the reasons why a version's skill decayed, from the last scoring; empty if it did not decay."""
    path = lake.live_skill / DECAYS_FILE
    if not path.exists() or (found := read_json(path))["version"] != version:
        return ()
    return tuple(decay["reason"] for decay in found["decays"] if decay["decayed"])


def _decay_json(decay: SkillDecay) -> dict[str, Any]:
    return {**vars(decay), "decayed": decay.decayed, "reason": decay.reason}


def mean_r2(scores: pd.DataFrame, version: str, forecaster: str = CHAMPION) -> "pd.Series[float]":
    """Average R2 over horizons, by recording, in the order of scoring."""
    if not len(scores):
        return pd.Series(dtype="float64")
    own = scores[(scores["version"] == version) & (scores["forecaster"] == forecaster)]
    # Rows are in the order of scoring. Of a recording whose content changed, only the last content counts.
    latest = own[own["digest"] == own.groupby("recording")["digest"].transform("last")]
    return latest.groupby("recording", sort=False)["r2"].mean()


def _open_recordings(lake: Lake) -> tuple[dict[str, ConditionedRecording], dict[str, str]]:
    """Open the lake's conditioned recordings. Return them, and the reasons why others cannot be opened, by key."""
    opened: dict[str, ConditionedRecording] = {}
    refused: dict[str, str] = {}
    for key, path in conditioned_paths(lake).items():
        try:
            opened[str(key)] = open_conditioned(path)
        except RecordingError as error:
            refused[str(key)] = str(error)
    return opened, refused


def _score(
    forecasters: Mapping[str, Forecaster],
    recording: ConditionedRecording,
    key: str,
    version: str,
    settings: LiveSkillSettings,
) -> pd.DataFrame:
    horizons = forecasters[CHAMPION].horizons
    scored_utc = datetime.now(UTC)
    rows = []
    for name, sums in score_live_recording(forecasters, recording, stride_samples=settings.every_samples).items():
        squared_mv2, total_mv2, n_targets = sums.of_channels(np.ones(len(recording.channel_names), bool))
        for row, r2 in enumerate(sums.r2()):
            rows.append(
                {
                    "version": version,
                    "recording": key,
                    "organoid": recording.organoid,
                    "digest": recording.source_digest,
                    "scored_utc": scored_utc,
                    "forecaster": name,
                    "horizon_ms": 1000 * horizons[row] / recording.rate_hz,
                    "r2": r2,
                    "squared_error_mv2": squared_mv2[row],
                    "total_mv2": total_mv2[row],
                    "n_targets": n_targets,
                }
            )
    return pd.DataFrame(rows)


def _measure_drift(
    lake: Lake,
    recording: ConditionedRecording,
    key: str,
    version: str,
    learned_from: Mapping[str, ConditionedRecording],
    settings: LiveSkillSettings,
) -> pd.DataFrame:
    same_organoid = {other: one for other, one in learned_from.items() if one.organoid == recording.organoid}
    reset = find_recording_reset_mv(list(same_organoid.values())) if same_organoid else None
    usual = {other: _statistics(lake, one, reset) for other, one in same_organoid.items()}
    statistics = _statistics(lake, recording, reset) if same_organoid else pd.DataFrame()
    found = channel_drift(statistics, usual, recording.n_samples / recording.rate_hz, settings)
    row = {"version": version, "recording": key, "organoid": recording.organoid, **found.shares}
    return pd.DataFrame([row | {"any": found.any_share, "drifted": found.drifted}])


def _statistics(lake: Lake, recording: ConditionedRecording, reset: ResetVoltage | None) -> pd.DataFrame:
    """Return a recording's channel statistics, computed once for each content and stored."""
    path = lake.live_skill / "statistics" / recording.organoid / f"{recording.recording}.parquet"
    made_from = {"digest": recording.digest, "reset_mv": reset.voltage_mv if reset else None}
    if path.exists():
        known = pd.read_parquet(path)
        if known.attrs == made_from:
            return known
    found = channel_statistics(recording, reset)
    found.attrs = made_from
    with atomic_write(path) as partial:
        found.to_parquet(partial)
    return found


def _baselines(
    lake: Lake, store: TrackingStore, present: RegisteredForecaster, forecaster: Forecaster
) -> dict[str, Forecaster]:
    """Fit baselines on the champion's window set; return none if that was deleted or lacks the champion's horizons."""
    evaluation = logged_evaluation(store, present.run_id)
    if evaluation is None:
        return {}
    folder = lake.windows / window_set_folder_name(evaluation.provenance.window_set_digest)
    if not folder.exists():
        return {}
    windows = WindowSet(folder)
    fitted = {name: Forecaster.unfitted(name, windows) for name in _BASELINES}
    for baseline in fitted.values():
        baseline.module.fit(windows)
    return fitted if set(forecaster.horizons) <= set(windows.horizons) else {}


def _expected_r2(store: TrackingStore, present: RegisteredForecaster) -> dict[str, float]:
    """Return mean R2 in the strictest regime by training organoid; over all organoids if none of its is held out."""
    evaluation = logged_evaluation(store, present.run_id)
    if evaluation is None:
        return {}
    rows = [
        {
            "organoid": RecordingKey.parse(errors.recording).organoid,
            "horizon": horizon,
            "squared": squared,
            "total": total,
        }
        for errors in evaluation.by_recording
        if errors.forecaster == evaluation.forecaster and errors.regime is evaluation.regimes[0]
        for horizon, squared, total in zip(errors.horizons, errors.squared_error_mv2, errors.total_mv2, strict=True)
    ]
    if not rows:
        return {}
    table = pd.DataFrame(rows, columns=["organoid", "horizon", "squared", "total"])
    sums = table.groupby(["organoid", "horizon"]).sum()
    by_organoid = (1 - sums["squared"] / sums["total"]).groupby("organoid").mean()
    pooled = table.groupby("horizon")[["squared", "total"]].sum()
    overall = float((1 - pooled["squared"] / pooled["total"]).mean())
    return {organoid: float(by_organoid.get(organoid, overall)) for organoid in evaluation.provenance.trained_on}


def _read(lake: Lake, name: str) -> pd.DataFrame:
    path = lake.live_skill / name
    return pd.read_parquet(path) if path.exists() else pd.DataFrame()


def _append(lake: Lake, name: str, tables: list[pd.DataFrame]) -> None:
    if tables:
        stored = _read(lake, name)
        with atomic_write(lake.live_skill / name) as partial:
            pd.concat([*([stored] if len(stored) else []), *tables], ignore_index=True).to_parquet(partial)
