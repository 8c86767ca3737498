"""Measurement of predictability ceilings and irreducible error from the simulator's hidden state."""
