"""From raw to conditioned: channels, segments, filters, z-score. No file format is known here."""
