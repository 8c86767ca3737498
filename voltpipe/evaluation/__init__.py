"""Scores with their baselines and ceilings, diagnostics and interpretation, as plain data on held-out windows.

Figures, prose and MLflow do not belong here.
"""
