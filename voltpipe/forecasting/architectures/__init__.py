"""The networks that are trained by gradient descent, each with the recipe it was made for.

One file an architecture, and a registry that knows them and the baselines by name.
"""
