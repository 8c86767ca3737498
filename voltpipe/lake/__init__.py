"""Storage: paths, keys, atomic writes and locks of the data lake. No recording is opened here."""
