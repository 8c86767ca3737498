"""File formats, one per module. Each opens a file as a lazy `RawSignal`."""
