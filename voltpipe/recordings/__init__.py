"""Voltage as labs record it: formats, units, conditioning, quality, quarantine, the Parquet store.

Code that depends on a file format or a unit belongs here. Splits and windows do not.
"""
