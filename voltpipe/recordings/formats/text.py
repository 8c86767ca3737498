"""The published text format `run_K_voltages.dat`: whitespace, no header; ms, then one column a neuron in mV."""

from pathlib import Path

from voltpipe.recordings.formats.lines import index_lines
from voltpipe.recordings.formats.stored import Stored
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError


def open_text(path: Path, hints: Hints) -> Stored:
    """Open the published text format. Channels are named `neuron_0`, `neuron_1`, ..."""
    lines, timeline = index_lines(path, delimiter=None, header_lines=0, time_column=0, seconds_per_time_unit=1e-3)
    if lines.n_columns < 2:
        raise RecordingError(
            f"{path.name} has one column. Expected time in ms, then one column per neuron.",
            code="voltage-column-missing",
        )
    timing = timeline.finish()
    return Stored(
        read=lambda start, stop: lines.read(start, stop)[:, 1:],
        n_samples=lines.n_rows,
        n_channels=lines.n_columns - 1,
        unit="mV",
        channel_names=tuple(f"neuron_{i}" for i in range(lines.n_columns - 1)),
        **timing._asdict(),
    )
