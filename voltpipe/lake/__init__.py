"""Storage: where a thing lies, and how it gets there whole. No recording is opened here."""
