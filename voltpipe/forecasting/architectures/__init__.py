"""Models trained by gradient descent, one file for each architecture, with the recipe each was developed with.

`voltpipe.forecasting.module_registry` lists them and the baselines by name.
"""
