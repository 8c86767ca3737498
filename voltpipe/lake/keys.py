"""Keys of the recordings in the data lake."""

import re
from dataclasses import dataclass

from voltpipe.errors import VoltpipeError

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.]|-(?!-))*(?<![-.])")
_MAX_NAME_LENGTH = 100


class LakeError(VoltpipeError):
    """A name or path that is not allowed in the lake."""


def _check_name(name: str, kind: str) -> None:
    if len(name) > _MAX_NAME_LENGTH or not _NAME.fullmatch(name) or ".." in name:
        raise LakeError(
            f"{kind} name {name!r} cannot be used. Expected up to {_MAX_NAME_LENGTH} letters, digits, '_', '.' and "
            "single '-', starting with a letter or digit and not ending with '-' or '.'. Rename it.",
            code="name-invalid",
        )


@dataclass(frozen=True, order=True)
class RecordingKey:
    """The name of one recording: its organoid, and its name within that organoid. `str()` gives the partition key.

    Raises:
        LakeError: a name could lead out of the lake, or could name two recordings.
    """

    organoid: str
    recording: str

    def __post_init__(self) -> None:
        _check_name(self.organoid, "Organoid")
        _check_name(self.recording, "Recording")

    def __str__(self) -> str:
        return f"{self.organoid}--{self.recording}"

    @classmethod
    def parse(cls, partition_key: str) -> "RecordingKey":
        """Parse a partition key `<organoid>--<recording>`.

        Raises:
            LakeError: it has another form, or one of its names is not allowed.
        """
        organoid, separator, recording = partition_key.partition("--")
        if not separator:
            raise LakeError(
                f"Partition key {partition_key!r} is malformed. Expected '<organoid>--<recording>'.",
                code="partition-key-malformed",
            )
        return cls(organoid, recording)
