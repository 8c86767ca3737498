"""The list of quality checks, and their run over a recording."""

import numpy as np

from voltpipe.recordings.quality import recording_checks, sample_checks
from voltpipe.recordings.quality.quality_report import QualityReport
from voltpipe.recordings.quality.signal_statistics import SignalStatistics, measure_signal
from voltpipe.recordings.recording import Recording
from voltpipe.recordings.settings import ConditioningSettings, QualitySettings

QUALITY_CHECKS = {
    "finite": "Every sample is a number.",
    "gaps": "Time has no gap. No window crosses a gap.",
    "dropped": "No sample is missing between time stamps.",
    "flat": "Every channel varies, also in its calibration span.",
    "clipping": "No channel is clipped at its lowest or highest value.",
    "noise": "No channel is much noisier or quieter than the others.",
    "hum": "No channel has mains hum at 50 or 60 Hz.",
    "drift": "Means stay near those of the calibration span.",
    "rate": "The sampling rate is plausible.",
    "unit_range": "The voltages are plausible for their unit.",
    "duration": "The recording is long enough after trimming.",
    "alike": "Rate and number of channels are those of the organoid's other recordings.",
    "duplicate": "No other recording has the same samples.",
}
"""Description of each check, by name: the statement that holds if it passes."""


def check_quality(recording: Recording, settings: QualitySettings, conditioning: ConditioningSettings) -> QualityReport:
    """Measure and check a raw recording in one pass. `conditioning` decides the minimum duration."""
    return run_quality_checks(recording, measure_signal(recording, conditioning), settings, conditioning)


def run_quality_checks(
    recording: Recording,
    figures: SignalStatistics,
    settings: QualitySettings,
    conditioning: ConditioningSettings,
    kept_s: float | None = None,
) -> QualityReport:
    """Check a recording whose statistics were measured.

    `compare_with_lake` compares it with other recordings.

    Args:
        recording: the raw recording.
        figures: statistics of its samples.
        settings: limits of the checks.
        conditioning: decides the minimum duration.
        kept_s: duration that conditioning kept, in s; None if it was not conditioned.
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
