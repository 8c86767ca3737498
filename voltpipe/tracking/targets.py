"""Choice of the held-out recordings on which a candidate and the champion are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from voltpipe.evaluation.regimes import Regime
from voltpipe.tracking.lineage import Lineage


@dataclass(frozen=True)
class Targets:
    """Recordings on which a candidate and the champion are compared."""

    recordings: frozenset[str]
    """Keys of those on which the gain is measured."""
    guarded: frozenset[str]
    """Keys of all that neither learned from. On these no organoid and no type of channel may lose."""
    all_fresh: bool = False
    """Whether all `recordings` came after the champion's training."""

    @property
    def described(self) -> str:
        """The recordings in words, for use after "on"."""
        count = f"{len(self.recordings)} held-out recording" + ("" if len(self.recordings) == 1 else "s")
        return (
            f"{count} that came after the champion's training"
            if self.all_fresh
            else f"{count} that neither learned from"
        )


def choose_targets(
    held_out: Mapping[str, str],
    champion: Sequence[Lineage],
    candidate: Sequence[Lineage],
    regime: Regime,
    time_fraction: float,
    *,
    fresh_recordings: int,
) -> Targets:
    """Choose among the recordings that a candidate's window set holds out.

    A champion was chosen for its score on earlier held-out recordings, and with enough attempts a candidate wins there
    by chance. Recordings that came later were never used for a choice; if there are enough of them, they alone count.

    Args:
        held_out: digests of the raw files, by key.
        champion: lineages of the champion, with those of the weights that it began from.
        candidate: lineages of the candidate.
        regime: whether whole recordings are held out, or their ends.
        time_fraction: share of a training recording's end that the window set holds out.
        fresh_recordings: how many are enough.
    """
    unseen = {
        key: digest
        for key, digest in held_out.items()
        if not any(lineage.learned_from(digest, regime, time_fraction) for lineage in (*champion, *candidate))
    }
    fresh = frozenset(key for key, digest in unseen.items() if not any(lineage.knew(digest) for lineage in champion))
    is_told = any(lineage.roles for lineage in champion)  # otherwise all recordings would seem later
    if is_told and len(fresh) >= fresh_recordings:
        return Targets(fresh, frozenset(unseen), all_fresh=True)
    return Targets(frozenset(unseen), frozenset(unseen))
