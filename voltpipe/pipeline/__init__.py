"""Dagster only: definitions, partitions, assets, checks, automation, resources.

Wiring belongs here. An asset's body is a few named steps of the other packages, with typed metadata at the end.
"""
