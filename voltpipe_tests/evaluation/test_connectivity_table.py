"""Connectivity is listed pair by pair, and compared with the truth only where it is known."""

import numpy as np
import pandas as pd
import pytest

from voltpipe.evaluation.connectivity_scores import connectivity_metrics, summarize_connectivity
from voltpipe.evaluation.connectivity_table import true_networks_mv
from voltpipe.simulation.network import draw_network
from voltpipe.windows.splits import Split

NAN = float("nan")


def test_there_is_a_row_for_each_pair_of_different_channels(connectivity):
    assert connectivity["sender"].tolist() == ["n0", "n0", "n1", "n1", "n2", "n2"]
    assert connectivity["receiver"].tolist() == ["n1", "n2", "n0", "n2", "n0", "n1"]
    assert set(connectivity["organoid"]) == {"alpha"}
    assert connectivity["sender_type"].tolist() == ["excitatory"] * 2 + ["inhibitory"] * 2 + ["unknown"] * 2
    np.testing.assert_allclose(connectivity["weight_mv"], [0.5, 0.0, 0.1, -2.0, 0.0, 0.0])
    np.testing.assert_allclose(connectivity["probability"], [0.9, 0.2, 0.4, 0.6, 0.0, 0.1])


def test_the_interval_is_1_96_standard_errors_and_unmeasured_pairs_are_missing(connectivity):
    np.testing.assert_allclose(connectivity["measured_mv"], [0.6, 0.1, 0.2, NAN, 0.0, 0.1])
    np.testing.assert_allclose(connectivity["standard_error_mv"], [0.1, 0.1, 0.1, NAN, 0.1, 0.1])
    np.testing.assert_allclose(connectivity["low_mv"], [0.404, -0.096, 0.004, NAN, -0.196, -0.096], atol=1e-6)
    np.testing.assert_allclose(connectivity["high_mv"], [0.796, 0.296, 0.396, NAN, 0.196, 0.296], atol=1e-6)


def test_spike_train_statistics_show_which_channel_follows_which(connectivity):
    assert connectivity["tiling"].idxmax() == connectivity["correlogram_z"].idxmax() == 0
    assert connectivity["tiling"][0] == pytest.approx(1.0)
    assert not connectivity["correlogram_z"][connectivity["receiver"] == "n2"].any()


def test_there_is_no_agreement_without_a_truth(connectivity):
    assert connectivity["is_connected_truth"].isna().all()
    assert connectivity["true_weight_mv"].isna().all()
    (found,) = summarize_connectivity(connectivity)
    assert found.agreement is None
    assert (found.organoid, found.n_channels, found.n_connections) == ("alpha", 3, 2)
    assert set(found.senders.values()) == {1}
    assert connectivity_metrics([found]) == {"connectivity/connections": 2}


def test_connectivity_is_compared_with_the_truth(connectivity):
    true_weight_mv = np.array([0.5, 0.0, 0.0, -2.0, 0.0, -2.0])
    known = connectivity.assign(true_weight_mv=true_weight_mv, is_connected_truth=true_weight_mv != 0)
    (found,) = summarize_connectivity(known)
    assert found.agreement
    # Of five measured pairs, n0 to n1 (0.9) ranks above all three unconnected, n2 to n1 (0.1) above one of them (0.0).
    ranking = found.agreement.rankings["coupling"]
    assert ranking.auroc == pytest.approx((3 + 1) / 6)
    assert ranking.average_precision == pytest.approx((1 + 2 / 4) / 2)
    assert found.agreement.sign_accuracy == 0.5
    assert found.agreement.senders_named == pytest.approx(2 / 3)
    assert connectivity_metrics([found])["connectivity/auroc"] == pytest.approx(4 / 6)
    (unknown,) = summarize_connectivity(connectivity)
    assert connectivity_metrics([found, unknown]) == {"connectivity/connections": 2}


def test_a_forecaster_without_coupling_has_no_connectivity(no_connectivity):
    assert no_connectivity.empty
    assert summarize_connectivity(no_connectivity) == ()
    assert connectivity_metrics([]) == {}


@pytest.mark.parametrize("table", ["connectivity", "no_connectivity"])
def test_a_table_survives_its_file(table, request, tmp_path):
    table = request.getfixturevalue(table)
    table.to_parquet(tmp_path / "table.parquet", index=False)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), table)


@pytest.fixture
def of_100(window_set_of):
    """Make a window set of silent channels with a given preparation and given network seeds."""

    def make(preparation, network_seeds, n_channels=100):
        window_set = window_set_of([np.zeros((50, n_channels))], [Split.TRAIN])
        update = {"preparation": preparation, "network_seeds": network_seeds}
        window_set.manifest = window_set.manifest.model_copy(update=update)
        return window_set

    return make


def test_the_truth_is_the_network_of_the_seed_in_the_recordings(of_100):
    for seed in (72, 73):
        assert np.array_equal(true_networks_mv(of_100("organoid", {"alpha": seed}))["alpha"], draw_network(seed))


@pytest.mark.parametrize(
    ("preparation", "network_seeds", "n_channels"),
    [
        ("brunel", {"alpha": 72}, 100),
        (None, {"alpha": 72}, 100),
        ("organoid", {}, 100),
        ("organoid", {"alpha": 72}, 99),
    ],
)
def test_other_recordings_have_no_truth(of_100, preparation, network_seeds, n_channels):
    assert true_networks_mv(of_100(preparation, network_seeds, n_channels)) == {}
