"""Conditioned recordings: Parquet files with metadata, and their export as NWB."""
