"""What is asked of a forecaster beyond its scores: where it errs, what faults cost, what it imagines, is it all honest.

Scores and their baselines are made in `evaluation` itself. Nothing is fitted here either.
"""
