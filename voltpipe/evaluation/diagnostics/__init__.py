"""Diagnostics beyond the scores: errors by group, corruptions, roll-outs, novelty and leakage checks.

Scores and baselines are made in `voltpipe.evaluation` itself. Nothing is fitted here.
"""
