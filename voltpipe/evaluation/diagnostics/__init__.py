"""Diagnostics: where a forecaster errs, what corruptions cost, how good its roll-outs are, and leakage checks.

Nothing is fitted here.
"""
