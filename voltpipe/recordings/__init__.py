"""Voltage as labs record it: formats, units, conditioning, quality, quarantine, the Parquet store.

Whatever depends on a file format or a unit belongs here. Splits and windows do not.
"""
