"""The manifest of a split: which conditioned recordings are used, as what, and which are not and why."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from voltpipe.errors import VoltpipeError
from voltpipe.lake.files import content_digest, read_json, write_json
from voltpipe.lake.keys import RecordingKey
from voltpipe.recordings.conditioning.signature import conditioning_signature, signature_difference
from voltpipe.recordings.store.conditioned_recording import ConditionedRecording
from voltpipe.schema import FrozenModel
from voltpipe.windows.settings import WindowSettings
from voltpipe.windows.splits import Role, assign_roles

SPLIT_MANIFEST_FILE = "recording_split.json"


class SplitError(VoltpipeError):
    """A set of recordings from which no forecaster can be trained."""


class SplitRecording(FrozenModel):
    """One recording in the split."""

    key: str
    role: Role
    digest: str
    source_digest: str
    n_samples: int


class SplitManifest(FrozenModel):
    """Who is in which split, with the digests that name the data."""

    settings: WindowSettings
    rate_hz: float
    channel_names: tuple[str, ...]
    channel_types: tuple[str, ...]
    conditioning: dict[str, Any] = Field({}, description="how all recordings were conditioned; see shared_conditioning")
    preparation: str | None = Field(description="the reference preparation that all recordings are of, if any")
    network_seeds: dict[str, int] = Field(
        {}, description="what an organoid's simulated network was drawn from, where its recordings say so and agree"
    )
    recordings: tuple[SplitRecording, ...]
    excluded: dict[str, str] = Field(description="why a conditioned recording is not used, by key")
    roles: dict[str, Role] = Field(description="the role of every recording that ever had one")

    @cached_property
    def digest(self) -> str:
        """Names the data that a forecaster is trained and scored on: recordings, roles and window settings."""
        return content_digest(self.model_dump(mode="json", exclude={"roles", "excluded", "network_seeds"}))

    @property
    def organoids(self) -> tuple[str, ...]:
        """Whose recordings are used."""
        return tuple(sorted({RecordingKey.parse(recording.key).organoid for recording in self.recordings}))

    def of_role(self, role: Role) -> tuple[str, ...]:
        """Keys of the recordings with one role."""
        return tuple(recording.key for recording in self.recordings if recording.role is role)

    def save(self, windows_folder: Path) -> None:
        """Write the manifest, whole or not at all."""
        write_json(split_manifest_path(windows_folder), self.model_dump(mode="json"))

    @classmethod
    def load(cls, windows_folder: Path) -> "SplitManifest | None":
        """The manifest written last, or None if there is none yet."""
        path = split_manifest_path(windows_folder)
        return cls.model_validate(read_json(path)) if path.exists() else None


def split_manifest_path(windows_folder: Path) -> Path:
    """Return the path of the split manifest in the lake's `windows` folder, or in a window set's folder."""
    return windows_folder / SPLIT_MANIFEST_FILE


def make_split_manifest(
    recordings: Mapping[str, ConditionedRecording], settings: WindowSettings, former: SplitManifest | None = None
) -> SplitManifest:
    """Decide who is in which split.

    A forecaster is for one set of channels at one rate, conditioned in one way. Where recordings differ in that, what
    most of them share is used, and the others are excluded with the reason.

    Args:
        recordings: conditioned recordings by partition key.
        settings: shares and the shape of a window.
        former: the manifest before this one, whose roles are kept.

    Raises:
        SplitError: there is no recording to train on, or none is long enough.
    """
    if not recordings:
        raise SplitError(
            "there is no conditioned recording to train on. Put raw recordings into raw/<organoid>/ (or use "
            "`voltpipe ingest`) and materialize conditioned_recording. quarantine/ says why recordings are not used.",
            code="no-conditioned-recording",
        )
    excluded = _too_short(recordings, settings)
    layouts = Counter(_layout(recording) for key, recording in recordings.items() if key not in excluded)
    if not layouts:
        raise SplitError(
            f"no conditioned recording can be used: {'; '.join(excluded.values())}", code="no-usable-recording"
        )
    layout = max(layouts, key=lambda candidate: (layouts[candidate], candidate))
    excluded |= {
        key: f"{key} {_difference(recording, layout)}"
        for key, recording in recordings.items()
        if key not in excluded and _layout(recording) != layout
    }
    used = {key: recording for key, recording in sorted(recordings.items()) if key not in excluded}
    roles = assign_roles(used, settings, former.roles if former else None)
    if not any(roles[key] is Role.TRAIN for key in used):
        raise SplitError(
            f"none of the recordings {', '.join(used)} is a training recording. Add recordings.",
            code="no-training-recording",
        )
    first = next(iter(used.values()))
    return SplitManifest(
        settings=settings,
        rate_hz=layout.rate_hz,
        channel_names=layout.channel_names,
        channel_types=first.channel_types,
        conditioning=json.loads(layout.conditioning),
        preparation=_common(recording.facts.get("preparation") for recording in used.values()),
        network_seeds=_network_seeds(used),
        recordings=tuple(
            SplitRecording(
                key=key,
                role=roles[key],
                digest=recording.digest,
                source_digest=recording.source_digest,
                n_samples=recording.n_samples,
            )
            for key, recording in used.items()
        ),
        excluded=excluded,
        roles=roles,
    )


class _Layout(NamedTuple):
    rate_hz: float
    channel_names: tuple[str, ...]
    conditioning: str
    """As JSON, so that layouts can be counted and put in order."""


def _layout(recording: ConditionedRecording) -> _Layout:
    conditioning = json.dumps(conditioning_signature(recording.metadata.settings), sort_keys=True)
    return _Layout(recording.rate_hz, recording.channel_names, conditioning)


def _difference(recording: ConditionedRecording, layout: _Layout) -> str:
    difference = signature_difference(
        conditioning_signature(recording.metadata.settings), json.loads(layout.conditioning)
    )
    if difference:
        return (
            f"was conditioned otherwise than most recordings: {difference}; condition it like them, or train on its "
            "organoid alone"
        )
    return (
        f"has {len(recording.channel_names)} channels at {recording.rate_hz:g} Hz that differ from the "
        f"{len(layout.channel_names)} channels at {layout.rate_hz:g} Hz of most recordings; train on its organoid alone"
    )


def _too_short(recordings: Mapping[str, ConditionedRecording], settings: WindowSettings) -> dict[str, str]:
    shares = settings.time_fraction, settings.validation_fraction
    # A training recording gives up to three spans, each of a window at least, with two borders between them.
    needed = math.ceil(settings.window_samples * max(1 / min(shares), 3 / (1 - sum(shares))))
    return {
        key: f"{key} has {recording.n_samples} samples after conditioning, {needed} are needed for windows of "
        f"{settings.window_samples} in every split; record longer or shorten the context"
        for key, recording in recordings.items()
        if recording.n_samples < needed
    }


def _common(values: Iterable[str | int | float | None]) -> str | None:
    distinct = set(values)
    only = distinct.pop() if len(distinct) == 1 else None
    return str(only) if only is not None else None


def _network_seeds(recordings: Mapping[str, ConditionedRecording]) -> dict[str, int]:
    said: dict[str, set[str | int | float | None]] = {}
    for key, recording in recordings.items():
        said.setdefault(RecordingKey.parse(key).organoid, set()).add(recording.facts.get("network_seed"))
    only = {organoid: seeds.pop() for organoid, seeds in said.items() if len(seeds) == 1}
    return {organoid: seed for organoid, seed in only.items() if isinstance(seed, int)}
