"""Search for training settings: trials, each a training, of which the hopeless end early."""
