"""Everything that turns a window set into a forecaster."""
