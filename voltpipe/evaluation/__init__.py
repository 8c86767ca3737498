"""Scores, diagnostics and interpretation of a forecaster on held-out data, next to its baselines and the ceilings.

Results are plain data. Other packages store and show them.
"""
