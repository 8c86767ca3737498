"""The asset graph, with one stage in each file."""
