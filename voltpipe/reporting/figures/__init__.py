"""Figures, one module per family. `figure_style.py` holds their common style."""
