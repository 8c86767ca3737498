"""Interpretation: ablations, attribution, channel influence and temporal filters, on held-out windows.

Nothing is fitted. A hidden input is replaced by samples recorded at another time, so inputs stay realistic.
"""
