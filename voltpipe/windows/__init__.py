"""Conditioned samples to splits, a window index and batches; samples are stored once and windows are views.

Anything that decides which sample may be seen when belongs here. Models and scores do not.
"""
