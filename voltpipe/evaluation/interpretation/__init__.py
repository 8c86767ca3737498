"""What a forecast follows from: what ablations cost, which samples and channels count, who is heard, which filters.

Everything is asked of held-out windows, and nothing is fitted. Instead of a sample that is taken away stands one that
was recorded at another moment, so that a forecaster is never shown what no tissue does.
"""
