"""Connectivity between channels ("who drives whom"), estimated in closed form from their spikes.

The estimate is a result in itself, and an input of `coupled_cnn_lstm`. The true connections of simulated recordings
are never used here; only `voltpipe.evaluation.connectivity_scores` compares with them.
"""
