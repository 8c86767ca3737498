"""The torch core: baselines, architectures, connectivity, training and search.

Its inputs are arrays and window sets; it knows no file format, no Dagster and no MLflow.
"""
