"""Tests of the lake page: it lists all recordings, problems first, and runs no script from a file."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.recordings.quality.quality_report import CheckOutcome, QualityReport, Severity
from voltpipe.recordings.raw.history import record_verdict
from voltpipe.recordings.raw.recording_records import RecordingOverview, Verdict, catalogue
from voltpipe.reporting.figures.lake_figures import (
    HUM,
    NOISE,
    UNKNOWN,
    duration_text,
    rate_text,
    share_text,
    voltage_text,
)
from voltpipe.reporting.lake_report import write_lake_report
from voltpipe.windows.settings import WindowSettings
from voltpipe.windows.split_manifest import SplitManifest, SplitRecording
from voltpipe.windows.splits import Role

pytestmark = pytest.mark.slow

NASTY = '<script>alert("c1")</script>'


def overview(n_day=0, **values):
    recorded_at = datetime(2026, 3, 1, 9, 30, tzinfo=UTC) + timedelta(days=n_day)
    known = {"format": "NWB", "rate_hz": 20_000.0, "n_channels": 60, "duration_s": 90.0, "is_stated": True}
    return RecordingOverview(recorded_at=recorded_at, **{**known, **values})


def report_of(*failed, kept_s=88.0, hum=0.02, message="as it should not be"):
    figures = {
        "noise": {"median_noise_mv": 0.0042},
        "clipping": {"largest_clipped_share": 0.0},
        "hum": {"largest_share_50_hz": hum, "largest_share_60_hz": 0.001},
        "drift": {"largest_drift_sd": 0.41},
        "gaps": {"gaps": 0},
        "dropped": {"dropped_samples": 1200},
        "flat": {"flat_channels": 0},
        "duration": {"duration_s": 90.0, "kept_s": kept_s},
    }
    return QualityReport(
        checks=tuple(
            CheckOutcome(
                name=name, passed=name not in failed, severity=Severity.WARN, message=message, figures=figures[name]
            )
            for name in figures
        )
    )


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


def quarantine(lake, key, reason, **found):
    record_verdict(lake, key, Verdict.QUARANTINED, raw_state="", source=None, reason=reason, **found)


@pytest.fixture
def use(lake):
    """Return a function that adds a usable recording to the lake; its Parquet file is empty and cannot be read."""

    def use(name, organoid="alpha", **found):
        key = RecordingKey(organoid, name)
        record_verdict(lake, key, Verdict.CONDITIONED, raw_state="", source=None, **found)
        lake.conditioned_path(key).parent.mkdir(parents=True, exist_ok=True)
        lake.conditioned_path(key).touch()

    return use


@pytest.fixture
def page(lake):
    return lambda: write_lake_report(lake).path.read_text()


def row(page, name):
    """Return the cells of a row of a table."""
    (found,) = re.findall(rf'<tr><th scope="row">{name}</th>(.*?)</tr>', page)
    return re.findall(r"<td[^>]*>(.*?)</td>", found)


def test_the_page_of_an_empty_lake_says_so(lake, page):
    assert "<td" not in page()
    assert "No recording" in page()
    assert write_lake_report(lake).figures == {}


def test_each_recording_has_a_row_with_its_overview_and_quality(use, page):
    use("good", seen=overview(), report=report_of())
    assert row(page(), "good") == [
        *("ok", "2026-03-01 09:30", "NWB", "60", "20 kHz", "1 min 30 s"),
        *("4.2 µV", "0", "2 %", "0.41 SD", "0", "1,200", "0", UNKNOWN),
    ]


def test_recordings_that_need_attention_come_first_with_reasons(lake, use, page):
    use("good", seen=overview(), report=report_of())
    use("hums", seen=overview(1), report=report_of("hum", hum=0.3, message="30 % is hum: check the grounding"))
    quarantine(lake, RecordingKey("beta", "bad"), "finite: 3 samples are NaN", report=report_of(), seen=overview(2))
    quarantine(lake, RecordingKey("beta", "worse"), "worse.nwb is empty")
    (lake.raw / "beta").mkdir(parents=True)
    (lake.raw / "beta" / "notes.docx").touch()
    (lake.raw / "beta" / "new.nwb").touch()
    html = page()
    assert re.search(r"4 recordings .*2 organoids.* 2 min 56 s .*\b2 .*\b1 ", html)
    attention = html[html.index("<h2>Needs attention") : html.index("<h2>Organoids")]
    for expected in (
        "<dt>beta--bad</dt><dd>finite: 3 samples are NaN</dd>",
        "<dt>beta--worse</dt><dd>worse.nwb is empty</dd>",
        "<dt>alpha--hums</dt><dd>30 % is hum: check the grounding</dd>",
        "&#39;.docx&#39;",
        "<p>beta--new</p>",
    ):
        assert expected in attention
    assert "alpha--good" not in attention
    assert row(html, "hums")[0] == "warn: hum"
    assert row(html, "bad")[1] == "2026-03-03 09:30"
    assert row(html, "worse")[0] == "quarantined: unreadable"
    assert row(html, "worse")[1:] == [UNKNOWN] * 13


def test_each_organoid_has_totals(use, page):
    use("a", seen=overview(), report=report_of())
    use("b", seen=overview(40, n_channels=6, rate_hz=1000.0), report=report_of("hum"))
    assert row(page(), "alpha") == ["2", "2 min 56 s", "1", "0", "60 at 20 kHz; 6 at 1 kHz", "2026-03-01 to 2026-04-10"]


def test_each_recording_has_its_split(lake, use, page):
    for name in ("a", "b", "c", "d"):
        use(name, seen=overview(), report=report_of())
    assert 'data-state="no-split"' in page()
    roles = {"alpha--a": Role.TRAIN, "alpha--b": Role.TEST}
    SplitManifest(
        settings=WindowSettings(),
        rate_hz=1000.0,
        channel_names=("x",),
        channel_types=("unknown",),
        preparation=None,
        recordings=tuple(
            SplitRecording(key=key, role=role, digest="d", source_digest="s", n_samples=9)
            for key, role in roles.items()
        ),
        excluded={"alpha--c": "alpha--c has 6 channels"},
        roles=roles,
    ).save(lake.windows)
    html = page()
    assert [row(html, name)[-1] for name in "abcd"] == ["train", "test", "left out", "not assigned"]
    assert row(html, "train") == ["1", "1 min 28 s"]
    assert "<dt>alpha--c</dt><dd>alpha--c has 6 channels</dd>" in html


def test_nothing_from_a_file_runs_on_the_page(lake, use, page):
    bad = report_of("hum", message=NASTY)
    use("a", seen=overview(format=NASTY), report=bad)
    quarantine(lake, RecordingKey("alpha", "q"), f'x" onload="{NASTY}', report=bad, seen=overview(1))
    html = page()
    assert "<script" not in html
    assert 'onload="' not in html
    assert html.count("&lt;script&gt;alert(&#34;c1&#34;)&lt;/script&gt;") >= 3


def test_long_lists_of_reasons_are_cut(lake, page, monkeypatch):
    monkeypatch.setattr("voltpipe.reporting.lake_report.MOST_REASONS", 10)
    for number in range(30):
        quarantine(lake, RecordingKey("alpha", f"run_{number:04d}"), "is empty")
    html = page()
    assert html.count("<dd>is empty</dd>") == 10
    assert "And 20 more." in html
    assert html.count('<th scope="row">run_') == 30


def test_figures_are_drawn_for_one_recording_and_for_many(lake, use, monkeypatch):
    use("a", seen=overview(), report=report_of())
    assert list(write_lake_report(lake).figures) == ["coverage", "quality"]
    monkeypatch.setattr("voltpipe.reporting.figures.lake_figures.MOST_VECTORS", 50)
    for number in range(80):
        use(f"run_{number}", seen=overview(number / 24), report=report_of(), organoid=f"organoid_{number % 40:02d}")
    report = write_lake_report(lake)
    assert "<image " in report.figures["quality"].svg
    assert "24 of 41" in report.figures["coverage"].caption
    for text in ("organoid_39", "noise (mV)", "newest"):
        assert any(text in figure.svg for figure in report.figures.values())


def test_a_measure_is_its_largest_statistic_or_unknown(lake, use):
    use("a", seen=overview(), report=report_of(hum=0.02))
    quarantine(lake, RecordingKey("alpha", "b"), "is empty")
    known, unknown = catalogue(lake)
    assert (HUM.value(known), HUM.cell(known)) == (0.02, "2 %")
    assert (NOISE.value(unknown), NOISE.cell(unknown)) == (None, UNKNOWN)


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        (duration_text, 9.23, "9.23 s"),
        (duration_text, 59.96, "1 min 0 s"),
        (duration_text, 12_345.0, "3 h 25 min"),
        (rate_text, 250.0, "250 Hz"),
        (rate_text, 12_500.0, "12.5 kHz"),
        (share_text, 0.0, "0"),
        (share_text, 1e-6, "< 0.01 %"),
        (share_text, 1 / 9, "11 %"),
        (voltage_text, 0.0123, "12.3 µV"),
        (voltage_text, 4.0, "4 mV"),
        (voltage_text, 4021.0, "4.02 V"),
    ],
)
def test_values_are_formatted_with_readable_units(text, value, expected):
    assert text(value) == expected
