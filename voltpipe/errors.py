"""The error that is meant for the user's eyes."""


class VoltpipeError(ValueError):
    """Something the user can mend: the message says what was found, what was expected, and what to do next.

    Every layer derives its own kind from this one. Broken invariants are asserts, not errors of this kind.
    """
