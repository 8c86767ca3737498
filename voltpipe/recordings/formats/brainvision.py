"""BrainVision: a header `.vhdr`, and the samples and markers that it names."""

from pathlib import Path
from typing import Any

from neo import rawio
from neo.rawio.brainvisionrawio import read_brainvsion_soup

from voltpipe.recordings.formats.neo_signals import open_with_neo
from voltpipe.recordings.formats.stored import Stored
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError


def open_brainvision(path: Path, hints: Hints) -> Stored:
    """Open a `.vhdr`, or the folder that holds one with its files."""
    header = path
    if path.is_dir():
        headers = sorted(path.glob("*.vhdr"))
        if len(headers) != 1:
            raise RecordingError(
                f"{path.name} holds {len(headers)} headers (.vhdr). Expected one. Make a folder for each recording.",
                code="file-count-unexpected",
            )
        header = headers[0]
    return open_with_neo(path, hints, lambda: _BrainVision(str(header)), name="BrainVision")


class _BrainVision(rawio.BrainVisionRawIO):  # type: ignore[misc]
    """neo's reader, which ignores the resolution of floating-point samples and may find samples elsewhere."""

    def _parse_header(self) -> None:
        said = read_brainvsion_soup(self.filename)
        for name in (said["Common Infos"]["DataFile"], said["Common Infos"]["MarkerFile"]):
            if Path(name).name != name or not Path(self.filename).with_name(name).is_file():
                raise RecordingError(
                    f"the header names {name!r}, which is not next to it. Put the file there under this name.",
                    code="file-part-missing",
                )
        super()._parse_header()
        channels: Any = self.header["signal_channels"]
        if said["Binary Infos"]["BinaryFormat"] == "IEEE_FLOAT_32":
            for channel in channels:
                fields = said["Channel Infos"][f"Ch{channel['id']}"].split(",")
                channel["gain"] = float(fields[2]) if len(fields) > 2 and fields[2] else 1.0
