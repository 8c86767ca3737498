"""Pure array functions on sampled voltage. No recording, no lake, no settings, no training."""
