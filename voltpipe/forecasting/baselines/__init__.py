"""Baselines: forecasters fitted in closed form within seconds, next to which every score is shown.

They have the same interface as the trained models and are saved the same way.
"""
