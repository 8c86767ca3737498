"""Reference preparations simulated with Brian2, and the predictability ceiling they allow.

A simulated recording leaves this package as a raw file, as a rig would leave it; nothing here conditions, windows
or scores.
"""
