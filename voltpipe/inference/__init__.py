"""Inference with a trained forecaster: on files, on recordings, sample by sample, and as roll-outs. No scoring."""
