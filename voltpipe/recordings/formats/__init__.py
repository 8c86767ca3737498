"""One file a format: each turns a file of that format into a lazy `Recording` in mV."""
