"""Tests of the model card."""

from dataclasses import replace

from voltpipe.reporting.model_card import model_card


def test_the_card_shows_scores_with_baselines_and_ceiling(evaluation, forecaster):
    card = model_card(evaluation({1: 0.7, 2: 0.66}, ceiling={1: 0.8, 2: 0.7}), forecaster, {})
    rows = [line.replace("&emsp;", "").replace(" ", "") for line in card.splitlines() if line.startswith("|")]
    assert rows[0] == "||2ms|4ms|"
    assert rows[2].endswith("|0.700|0.660|")
    assert rows[3:] == [
        "|persistence|0.600|0.600|",
        "|autoregression|0.650|0.650|",
        "|ceiling|0.800|0.700|",
    ]


def test_the_card_states_training_data_limits_and_usage(evaluation, forecaster):
    card = model_card(evaluation({1: 0.7}), forecaster, {"training": "62 s on cpu"})
    assert "2 (organoid_1--0, organoid_1--1)" in card
    assert "1 (organoid_1--2)" in card
    assert "3 channels" in card.partition("## Limits")[2].partition("## ")[0]
    assert "float32 of shape (4, 3), in mV at 500 Hz" in card
    assert "voltpipe forecast FILE --model voltage-forecaster@champion" in card
    assert "membrane (as recorded)" in card
    assert "- training: 62 s on cpu" in card


def test_the_card_states_the_conditioning(evaluation, forecaster):
    lfp = {"profile": "lfp", "lfp_rate_hz": 500.0, "lfp_passband_share": 0.6, "common_reference": True}
    conditioned = replace(forecaster, config=forecaster.config.model_copy(update={"conditioning": lfp}))
    card = model_card(evaluation({1: 0.7}), conditioned, {})
    assert "lfp (lfp_rate_hz 500, lfp_passband_share 0.6), common reference." in card


def test_a_card_of_many_recordings_fits_into_mlflow(evaluation, forecaster):
    one = evaluation({1: 0.7})
    many = {split: tuple(f"organoid_{n}--recording_{n}" for n in range(500)) for split in one.provenance.recordings}
    crowded = one.model_copy(update={"provenance": one.provenance.model_copy(update={"recordings": many})})
    card = model_card(crowded, forecaster, {})
    assert "and 492 more" in card
    assert len(card) < 5_000
