"""Writing of window sets: the conditioned samples, stored once, and the index of windows."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped
from numpy.lib.format import open_memmap

from voltpipe.lake.files import atomic_write_folder, write_json
from voltpipe.recordings.store.conditioned_recording import ConditionedRecording
from voltpipe.windows.settings import Protocol, WindowSettings
from voltpipe.windows.split_manifest import SplitError, SplitManifest
from voltpipe.windows.splits import Role, Split, SplitSpan, recording_spans
from voltpipe.windows.window_set import (
    INDEX_DTYPE,
    INDEX_FILE,
    SAMPLES_FILE,
    WINDOW_SET_MANIFEST_FILE,
    WindowedRecording,
    WindowedSpan,
    WindowSet,
    WindowSetManifest,
    window_set_folder_name,
)

_CHUNK_SAMPLES = 4096
_PUBLISHED_SHARES = {Split.TRAIN: 0.7, Split.VALIDATION: 0.15}
"""Shares of the proof of concept. The remaining windows are for testing."""


def window_set_folder(windows_folder: Path, manifest: SplitManifest) -> Path:
    """Return the folder of a split's window set. Its name is derived from the digest of the data."""
    return windows_folder / window_set_folder_name(manifest.digest)


def build_window_set(
    folder: Path, manifest: SplitManifest, recordings: Mapping[str, ConditionedRecording]
) -> WindowSet:
    """Write the window set of a split atomically to `folder`, and open it.

    Samples stream from the conditioned recordings into one array on disk, `_CHUNK_SAMPLES` at a time.

    Raises:
        SplitError: a recording changed since the split was made, or no window fits.
    """
    settings = manifest.settings
    windowed, spans = _lay_out(manifest, recordings)
    index = _published_index(windowed, settings) if settings.protocol is Protocol.PUBLISHED else _index(spans, settings)
    for split in (Split.TRAIN, Split.VALIDATION):
        if not np.any(index["split"] == split.code):
            raise SplitError(
                f"No window of {settings.window_samples} samples fits into the {split} split. Add recordings.",
                code="split-without-windows",
            )
    with atomic_write_folder(folder) as aside:
        shape = (windowed[-1].stop_row, len(manifest.channel_names))
        samples = open_memmap(aside / SAMPLES_FILE, "w+", np.float32, shape)  # type: ignore[no-untyped-call]
        _reserve(aside / SAMPLES_FILE)
        train_sum_mv, n_train = _write_samples(samples, windowed, spans, recordings)
        samples.flush()
        np.save(aside / INDEX_FILE, index)
        content = WindowSetManifest(
            settings=settings,
            rate_hz=manifest.rate_hz,
            channel_names=manifest.channel_names,
            channel_types=manifest.channel_types,
            conditioning=manifest.conditioning,
            digest=manifest.digest,
            preparation=manifest.preparation,
            network_seeds=manifest.network_seeds,
            organoids=manifest.organoids,
            roles={role: manifest.of_role(role) for role in Role},
            recordings=tuple(windowed),
            spans=tuple(WindowedSpan(r, span.start_sample, span.stop_sample, span.split) for r, span in spans),
            train_mean_mv=tuple((train_sum_mv / n_train).tolist()),
        )
        write_json(aside / WINDOW_SET_MANIFEST_FILE, content.model_dump(mode="json"))
        manifest.save(aside)
    return WindowSet(folder)


def _reserve(path: Path) -> None:
    """Reserve the disk space. A full disk raises OSError here; through a memory map it would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _lay_out(
    manifest: SplitManifest, recordings: Mapping[str, ConditionedRecording]
) -> tuple[list[WindowedRecording], list[tuple[int, SplitSpan]]]:
    """Assign rows of the common array to the recordings and their spans."""
    windowed: list[WindowedRecording] = []
    spans: list[tuple[int, SplitSpan]] = []
    row = 0
    for number, entry in enumerate(manifest.recordings):
        recording = recordings[entry.key]
        if recording.digest != entry.digest:
            raise SplitError(
                f"{entry.key} was conditioned again after the split was made. Materialize recording_split.",
                code="split-outdated",
            )
        condition = recording.facts.get("condition")
        windowed.append(
            WindowedRecording(
                key=entry.key,
                digest=entry.source_digest,
                start_row=row,
                stop_row=row + recording.n_samples,
                calibration_stop_row=row + recording.calibration_samples,
                mean_mv=tuple(recording.mean_mv.tolist()),
                sd_mv=tuple(recording.sd_mv.tolist()),
                condition=None if condition is None else str(condition),
            )
        )
        spans += [
            (number, SplitSpan(row + span.start_sample, row + span.stop_sample, span.split))
            for span in _spans(manifest, entry.role, recording)
        ]
        row += recording.n_samples
    return windowed, spans


def _spans(manifest: SplitManifest, role: Role, recording: ConditionedRecording) -> tuple[SplitSpan, ...]:
    if manifest.settings.protocol is Protocol.PUBLISHED:
        return (SplitSpan(0, recording.n_samples, Split.TRAIN),)
    return recording_spans(
        recording.n_samples,
        role,
        manifest.settings,
        calibration_samples=recording.calibration_samples,
        segment_starts=recording.segment_starts,
        validate_in_time=not manifest.of_role(Role.VALIDATION),
    )


def _write_samples(
    samples: np.memmap,
    windowed: Iterable[WindowedRecording],
    spans: list[tuple[int, SplitSpan]],
    recordings: Mapping[str, ConditionedRecording],
) -> tuple[np.ndarray, int]:
    """Fill the array. Return the sum of the training samples per channel, in mV, and their number."""
    total = np.zeros(samples.shape[1])
    n_train = 0
    for number, place in enumerate(windowed):
        recording = recordings[place.key]
        train = [(s.start_sample, s.stop_sample) for r, s in spans if r == number and s.split is Split.TRAIN]
        for start in range(place.start_row, place.stop_row, _CHUNK_SAMPLES):
            stop = min(start + _CHUNK_SAMPLES, place.stop_row)
            chunk = recording.read_z(start - place.start_row, stop - place.start_row)
            samples[start:stop] = chunk
            for first, last in train:
                inside = chunk[max(first - start, 0) : max(last - start, 0)]
                total += inside.sum(axis=0, dtype=np.float64) * recording.sd_mv + len(inside) * recording.mean_mv
                n_train += len(inside)
    return total, n_train


def _index(spans: list[tuple[int, SplitSpan]], settings: WindowSettings) -> Shaped[np.ndarray, " window"]:
    """Index all windows that fit into a span, `stride_samples` apart."""
    parts = []
    for number, span in spans:
        starts = np.arange(span.start_sample, span.stop_sample - settings.window_samples + 1, settings.stride_samples)
        parts.append(_entries(starts, number, span.split.code))
    return np.concatenate(parts)


def _published_index(windowed: list[WindowedRecording], settings: WindowSettings) -> Shaped[np.ndarray, " window"]:
    """Index windows as the proof of concept did: across recordings, and shuffled before splitting."""
    starts = np.arange(0, windowed[-1].stop_row - settings.window_samples + 1, settings.stride_samples)
    borders = np.array([recording.stop_row for recording in windowed])
    order = np.random.default_rng(0).permutation(len(starts))
    codes = np.full(len(starts), Split.TEST.code)
    first = 0
    for split, share in _PUBLISHED_SHARES.items():
        last = first + round(share * len(starts))
        codes[order[first:last]] = split.code
        first = last
    return _entries(starts, np.searchsorted(borders, starts, side="right"), codes)


def _entries(
    starts: Int[np.ndarray, " window"], recording: int | np.ndarray, split: int | np.ndarray
) -> Shaped[np.ndarray, " window"]:
    entries = np.empty(len(starts), INDEX_DTYPE)
    entries["start_row"], entries["recording"], entries["split"] = starts, recording, split
    return entries
