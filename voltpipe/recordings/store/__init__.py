"""The conditioned recording: Parquet and its metadata, and its export as NWB."""
