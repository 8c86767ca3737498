"""Passwords come from the environment and are never shown."""

import pytest

from voltpipe.lake.paths import Lake
from voltpipe.tracking.mlflow_store import TRACKING_VARIABLE, TrackingError, TrackingStore

SECRET = "correct-horse"


@pytest.mark.parametrize(
    "uri",
    [
        f"https://me:{SECRET}@mlflow.lab:5000",
        f"postgresql://me:{SECRET}@db.lab/mlflow",
        f"postgresql://db.lab/mlflow?user=me&password={SECRET}",
    ],
)
def test_a_uri_with_a_password_is_refused_without_showing_it(tmp_path, monkeypatch, uri):
    monkeypatch.setenv(TRACKING_VARIABLE, uri)
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_PASSWORD") as refused:
        TrackingStore.of(Lake(tmp_path / "lake"))
    assert refused.value.code == "password-in-uri"
    assert SECRET not in str(refused.value)
    assert ".lab" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["https://mlflow.lab:5000", "postgresql://me@db.lab/mlflow", None])
def test_a_uri_without_a_password_is_used(tmp_path, monkeypatch, uri):
    monkeypatch.setenv(TRACKING_VARIABLE, uri or "")
    assert TrackingStore.of(Lake(tmp_path)).tracking_uri == uri
