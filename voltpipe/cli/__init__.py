"""Commands of the terminal. This package may import every other; no other imports it."""
