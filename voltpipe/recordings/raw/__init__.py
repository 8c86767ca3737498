"""Raw files in the lake: listing, opening, sidecars, ingestion, and the record of what became of each."""
