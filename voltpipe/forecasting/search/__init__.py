"""Hyperparameter search. Each trial is a training, and unpromising ones end early."""
