"""The torch core: baselines, architectures, training, checkpoints, prediction.

It is handed arrays or a window set; file formats, Dagster and MLflow are unknown here.
"""
