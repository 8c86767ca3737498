"""Splits, the window index and batches. Samples are stored once, and windows are views of them.

Code that decides which sample may be seen when belongs here. Models and scores do not.
"""
