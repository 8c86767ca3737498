"""Monitoring of the champion: live skill, drift, decay, new recordings and the retraining policy."""
