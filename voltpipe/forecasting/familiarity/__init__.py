"""Whether what a forecaster is shown is like what it was trained on, judged before anything is forecast.

No forecast belongs here, nor how good one was: what is unlike the training rows may still be forecast well.
"""
