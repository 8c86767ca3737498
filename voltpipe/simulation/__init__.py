"""Reference preparations simulated with Brian2, and their predictability ceilings.

The output is raw files like those of a rig. Nothing here conditions, windows or scores.
"""
