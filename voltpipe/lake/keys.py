"""The data lake: one folder that holds everything voltpipe writes, and the keys that name what is in it."""

import re
from dataclasses import dataclass

from voltpipe.errors import VoltpipeError

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.]|-(?!-))*(?<![-.])")
_MAX_NAME_LENGTH = 100


class LakeError(VoltpipeError):
    """A name or a path that does not belong in the lake."""


def _checked_name(name: str, what: str) -> str:
    if len(name) > _MAX_NAME_LENGTH or not _NAME.fullmatch(name) or ".." in name:
        raise LakeError(
            f"{what} {name!r} cannot be used. Expected up to {_MAX_NAME_LENGTH} letters, digits, '_', '.' and single "
            "'-', starting with a letter or digit and not ending with '-' or '.'. Rename it.",
            code="name-invalid",
        )
    return name


@dataclass(frozen=True, order=True)
class RecordingKey:
    """Names one recording: the organoid it is of, and the recording within it. `str()` gives the partition key.

    Raises:
        LakeError: a name that could leave the lake or that two recordings could share.
    """

    organoid: str
    recording: str

    def __post_init__(self) -> None:
        _checked_name(self.organoid, "organoid")
        _checked_name(self.recording, "recording")

    def __str__(self) -> str:
        return f"{self.organoid}--{self.recording}"

    @classmethod
    def parse(cls, partition_key: str) -> "RecordingKey":
        """Read a partition key `<organoid>--<recording>`."""
        organoid, separator, recording = partition_key.partition("--")
        if not separator:
            raise LakeError(
                f"partition key {partition_key!r} is malformed. Expected '<organoid>--<recording>'.",
                code="partition-key-malformed",
            )
        return cls(organoid, recording)
