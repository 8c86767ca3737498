"""Figures, one file a family. `figure_style.py` says how all of them look."""
