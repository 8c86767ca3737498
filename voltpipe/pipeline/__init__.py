"""Wiring of the packages below into Dagster: definitions, partitions, assets, checks, automation and resources.

An asset's body calls a few functions of the other packages and returns typed metadata.
"""
