"""A training's listener for benchmarks that print what they have to say themselves."""

from voltpipe.progress import EpochRecord


class Silent:
    """A listener that notes nothing."""

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        """Not said."""

    def epoch_finished(self, record: EpochRecord) -> None:
        """Not said."""
