"""A trained forecaster in use: on files, on recordings, sample by sample, free-running. Nothing is scored here."""
