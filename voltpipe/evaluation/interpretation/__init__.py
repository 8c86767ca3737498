"""Interpretation: ablations, attribution to samples and channels, influence between channels, temporal filters.

All of it uses held-out windows, and nothing is fitted. A hidden input is replaced by samples that were recorded at
another time, so that a forecaster never gets inputs that no organoid produces.
"""
