"""Split manifest: the role of each conditioned recording, and why others are excluded."""

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
    """Recordings from which no forecaster can be trained."""


class SplitRecording(FrozenModel):
    """Recording that is used in a split."""

    key: str
    role: Role
    digest: str
    source_digest: str
    n_samples: int


class SplitManifest(FrozenModel):
    """Roles of all recordings, with the digests that identify the data."""

    settings: WindowSettings
    rate_hz: float
    channel_names: tuple[str, ...]
    channel_types: tuple[str, ...]
    conditioning: dict[str, Any] = Field({}, description="Conditioning signature of all recordings.")
    preparation: str | None = Field(description="Reference preparation of all recordings, if any.")
    network_seeds: dict[str, int] = Field(
        {}, description="Seed of each organoid's simulated network, if its recordings state one and agree."
    )
    recordings: tuple[SplitRecording, ...]
    excluded: dict[str, str] = Field(description="Reason why a conditioned recording is not used, by key.")
    roles: dict[str, Role] = Field(description="Role of every recording that ever had one, by key.")

    @cached_property
    def digest(self) -> str:
        """Digest of the data that a forecaster is trained and scored on: recordings, roles, window settings."""
        return content_digest(self.model_dump(mode="json", exclude={"roles", "excluded", "network_seeds"}))

    @property
    def organoids(self) -> tuple[str, ...]:
        """Organoids whose recordings are used, sorted."""
        return tuple(sorted({RecordingKey.parse(recording.key).organoid for recording in self.recordings}))

    def of_role(self, role: Role) -> tuple[str, ...]:
        """Return the keys of the recordings with a role."""
        return tuple(recording.key for recording in self.recordings if recording.role is role)

    def save(self, windows_folder: Path) -> None:
        """Write the manifest atomically."""
        write_json(split_manifest_path(windows_folder), self.model_dump(mode="json"))

    @classmethod
    def load(cls, windows_folder: Path) -> "SplitManifest | None":
        """Read the latest manifest; return None if there is none."""
        path = split_manifest_path(windows_folder)
        return cls.model_validate(read_json(path)) if path.exists() else None


def split_manifest_path(windows_folder: Path) -> Path:
    """Return the path of the split manifest in the lake's `windows` folder, or in a window set's folder."""
    return windows_folder / SPLIT_MANIFEST_FILE


def make_split_manifest(
    recordings: Mapping[str, ConditionedRecording], settings: WindowSettings, former: SplitManifest | None = None
) -> SplitManifest:
    """Assign a role to each recording.

    A forecaster needs one set of channels, one rate and one conditioning. If recordings differ, the most common
    combination is used. The other recordings are excluded with a reason.

    Args:
        recordings: conditioned recordings by partition key.
        settings: fractions and the shape of a window.
        former: the previous manifest. Its roles are kept.

    Raises:
        SplitError: no recording can be used for training.
    """
    if not recordings:
        raise SplitError(
            "There is no conditioned recording to train on. Put raw recordings into raw/<organoid>/ (or use "
            "`voltpipe ingest`) and materialize conditioned_recording. quarantine/ has the reasons for refusals.",
            code="no-conditioned-recording",
        )
    excluded = _too_short(recordings, settings)
    layouts = Counter(_layout(recording) for key, recording in recordings.items() if key not in excluded)
    if not layouts:
        raise SplitError(
            f"No conditioned recording can be used. {' '.join(excluded.values())}", code="no-usable-recording"
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
            f"All of the recordings {', '.join(used)} are held out. Add recordings to train on.",
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
    """As JSON, so that layouts can be counted and sorted."""


def _layout(recording: ConditionedRecording) -> _Layout:
    conditioning = json.dumps(conditioning_signature(recording.metadata.settings), sort_keys=True)
    return _Layout(recording.rate_hz, recording.channel_names, conditioning)


def _difference(recording: ConditionedRecording, layout: _Layout) -> str:
    difference = signature_difference(
        conditioning_signature(recording.metadata.settings), json.loads(layout.conditioning)
    )
    if difference:
        return (
            f"was conditioned differently from most recordings: {difference}. Condition it like them, or train on its "
            "organoid alone."
        )
    return (
        f"has {len(recording.channel_names)} channels at {recording.rate_hz:g} Hz that differ from the "
        f"{len(layout.channel_names)} channels at {layout.rate_hz:g} Hz of most recordings. Train on its organoid "
        "alone."
    )


def _too_short(recordings: Mapping[str, ConditionedRecording], settings: WindowSettings) -> dict[str, str]:
    fractions = settings.time_fraction, settings.validation_fraction
    # A training recording has up to three spans of at least one window, with two borders between them.
    needed = math.ceil(settings.window_samples * max(1 / min(fractions), 3 / (1 - sum(fractions))))
    return {
        key: f"{key} has {recording.n_samples} samples after conditioning. It needs {needed} for windows of "
        f"{settings.window_samples} samples in every split. Record longer, or shorten the context."
        for key, recording in recordings.items()
        if recording.n_samples < needed
    }


def _common(values: Iterable[str | int | float | None]) -> str | None:
    distinct = set(values)
    only = distinct.pop() if len(distinct) == 1 else None
    return str(only) if only is not None else None


def _network_seeds(recordings: Mapping[str, ConditionedRecording]) -> dict[str, int]:
    found: dict[str, set[str | int | float | None]] = {}
    for key, recording in recordings.items():
        found.setdefault(RecordingKey.parse(key).organoid, set()).add(recording.facts.get("network_seed"))
    only = {organoid: seeds.pop() for organoid, seeds in found.items() if len(seeds) == 1}
    return {organoid: seed for organoid, seed in only.items() if isinstance(seed, int)}
