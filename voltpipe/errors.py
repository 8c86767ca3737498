"""The base class of all errors that are meant for the user."""


class VoltpipeError(ValueError):
    """An error that the user can fix. The message says what was found, what was expected and what to do.

    Each layer derives its own class. A broken invariant is an assertion, not a VoltpipeError.

    Args:
        message: the text for the user.
        code: a stable name of the cause, in kebab case (`unit-unknown`). Tests and callers compare it, never the text.
    """

    code: str = "error"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
