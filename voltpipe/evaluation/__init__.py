"""Scores beside their baselines and ceilings, figures, and the HTML pages: of a forecaster, and of the whole lake.

What is computed here is plain data; where it is stored or shown besides is the business of tracking and pipeline.
"""
