"""The asset graph, one stage a file, in the order in which a sample travels."""
