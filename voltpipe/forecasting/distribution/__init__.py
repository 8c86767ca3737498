"""What the truth may be, given a forecast: quantiles of the voltage, and the chance of a spike.

A second stage behind any forecaster, fitted in closed form on validation windows alone (split conformal prediction,
conditional on what the voltage and its forecast are). The forecast itself is left as it is.
"""
