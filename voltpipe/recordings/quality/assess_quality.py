"""What must be true of a recording before anything is learned from it; each check with its figures."""

import numpy as np

from voltpipe.recordings.quality import recording_checks, sample_checks
from voltpipe.recordings.quality.quality_report import QualityReport
from voltpipe.recordings.quality.signal_statistics import SignalStatistics, measure_signal
from voltpipe.recordings.recording import Recording
from voltpipe.recordings.settings import ConditioningSettings, QualitySettings

CHECKS = {
    "finite": "Every sample is a number.",
    "gaps": "Time runs through without a gap; no window crosses one.",
    "dropped": "No sample is missing between time stamps.",
    "flat": "Every channel varies, in its calibration span too.",
    "clipping": "No channel is held at its lowest or highest value.",
    "noise": "No channel is far louder or quieter than the others.",
    "hum": "No channel hums at 50 or 60 Hz.",
    "drift": "Means stay near those of the calibration span.",
    "rate": "The sampling rate is plausible.",
    "unit_range": "Voltages are of a size that fits their unit.",
    "duration": "The recording is long enough after trimming.",
    "alike": "Rate and number of channels are those of the organoid's other recordings.",
    "duplicate": "No other recording has the same samples.",
}
"""Every check by name, with what is true where it passes."""


def check_quality(recording: Recording, settings: QualitySettings, conditioning: ConditioningSettings) -> QualityReport:
    """Check a raw recording in a pass of its own; what it is to be conditioned with decides the least duration."""
    return run_quality_checks(recording, measure_signal(recording, conditioning), settings, conditioning)


def run_quality_checks(
    recording: Recording,
    figures: SignalStatistics,
    settings: QualitySettings,
    conditioning: ConditioningSettings,
    kept_s: float | None = None,
) -> QualityReport:
    """The checks of a recording whose figures have been taken; `kept_s` says how much conditioning left of it.

    `recording_checks` compares it with the other recordings of the lake.
    """
    names = np.array(recording.channel_names)
    return QualityReport(
        checks=(
            sample_checks.finite(recording, figures, names),
            recording_checks.gaps(recording),
            recording_checks.dropped(recording, settings),
            sample_checks.flat(figures, names),
            sample_checks.clipping(figures, names, settings),
            sample_checks.noise(figures, names, conditioning),
            sample_checks.hum(figures, names, settings),
            sample_checks.drift(figures, names, settings),
            recording_checks.rate(recording, settings),
            sample_checks.unit_range(recording, figures, names, settings),
            recording_checks.duration(recording, conditioning, kept_s),
        )
    )
