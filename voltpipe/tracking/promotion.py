"""Changes of the champion: promotions, refusals and rollbacks, each with a line in the audit log.

An action is first appended to the audit log. Then MLflow's aliases and tags are set to match, and last a tag of the
registered model names the line. If a process is killed in between, the next one completes its action. Only one process
acts at a time, and only if the champion is still the one that the decision was made against.
"""

from collections.abc import Sequence

from voltpipe.errors import VoltpipeError
from voltpipe.tracking.audit_log import Action, AuditEntry, AuditLog
from voltpipe.tracking.mlflow_store import TrackingError, TrackingStore
from voltpipe.tracking.model_registry import (
    MODEL_NAME,
    Alias,
    aliases,
    get_version,
    load_forecaster,
    registered_model,
    serving_version,
)
from voltpipe.tracking.promotion_rules import PromotionDecision
from voltpipe.tracking.registration import DESCRIPTION

TRAIL_TAG = "voltpipe.trail"
"""Tag of the registered model: ID of the last line of the audit log that was applied to MLflow."""
_DESCRIBED = 20
"""Number of actions in the registered model's description; MLflow holds 5,000 characters."""


class ChampionMovedError(VoltpipeError):
    """The champion is no longer the one that the candidate was compared with."""


def apply_decision(store: TrackingStore, version: str, decision: PromotionDecision, *, who: str) -> None:
    """Apply a decision. Promoting the champion again changes nothing.

    Args:
        store: the store in which versions are registered.
        version: number of the candidate.
        decision: promoted or refused, with the champion it was compared with and the reasons.
        who: user or process that requested it.

    Raises:
        ChampionMovedError: another version became champion in the meantime.
    """
    log = AuditLog.of(store)
    with log.locked():
        before = _champion(store, log)
        in_use_now = present.version if (present := serving_version(store)) else None
        if in_use_now != decision.against:
            raise ChampionMovedError(
                f"Version {version} was compared with champion {decision.against}, but the champion is now "
                f"{in_use_now}. Compare again.",
                code="champion-moved",
            )
        moves = decision.promoted and before != version
        if decision.promoted and not moves:
            return
        entry = AuditEntry(
            action=Action.PROMOTED if moves else Action.REFUSED,
            version=version,
            champion_before=before,
            champion_after=version if moves else before,
            previous_after=_next_previous(store, before, version) if moves else aliases(store).get(Alias.PREVIOUS),
            who=who,
            why=decision.reason,
            codes=decision.codes,
        )
        _carry_out(store, log, entry)


def roll_back(store: TrackingStore, *, to: str | None = None, who: str, why: str) -> AuditEntry:
    """Restore an earlier champion; the present champion becomes `previous`.

    Args:
        store: the store in which versions are registered.
        to: a version that was champion before; by default `previous`.
        who: user who requested it.
        why: reason, stored in the audit log and in the versions' tags.

    Raises:
        TrackingError: there is no previous champion, or the version was deleted or archived, was never champion, or
            cannot be loaded.
    """
    log = AuditLog.of(store)
    with log.locked():
        before = _champion(store, log)
        target = to or aliases(store).get(Alias.PREVIOUS)
        _check_target(store, log, target, before)
        assert target is not None
        entry = AuditEntry(
            action=Action.ROLLED_BACK,
            version=target,
            champion_before=before,
            champion_after=target,
            previous_after=_next_previous(store, before, target),
            who=who,
            why=why,
        )
        _carry_out(store, log, entry)
    return entry


def rollback_target(store: TrackingStore, version: str) -> AuditEntry | None:
    """Return the rollback that ended a version's latest time as champion; None if no rollback did."""
    moves = [e for e in AuditLog.of(store).entries() if e.moves and version in (e.champion_before, e.champion_after)]
    last = moves[-1] if moves else None
    return last if last and last.action is Action.ROLLED_BACK and last.champion_before == version else None


def _champion(store: TrackingStore, log: AuditLog) -> str | None:
    """Return the champion, even if it was deleted; first complete an interrupted action, and log outside changes."""
    entries = log.entries()
    last = entries[-1] if entries else None
    one_behind = entries[-2].entry_id if len(entries) > 1 else None
    if last is not None and _follows(store) == one_behind and _is_there(store, last.champion_after):
        _apply(store, log, last)
    recorded = last.champion_after if last else None
    found = aliases(store).get(Alias.CHAMPION)
    if found is None or found == recorded:
        return recorded
    moved = AuditEntry(
        action=Action.MOVED_OUTSIDE,
        version=found,
        champion_before=recorded,
        champion_after=found,
        previous_after=aliases(store).get(Alias.PREVIOUS),
        who="unknown",
        why="The alias was moved outside voltpipe; the audit log has no action for it.",
    )
    _carry_out(store, log, moved)
    return found


def _next_previous(store: TrackingStore, champion: str | None, after: str) -> str | None:
    """Return the version that a rollback would restore: the champion so far or, if deleted, the one before it."""
    known = (champion, aliases(store).get(Alias.PREVIOUS))
    return next((each for each in known if each and each != after and _is_there(store, each)), None)


def _check_target(store: TrackingStore, log: AuditLog, target: str | None, before: str | None) -> None:
    once = sorted({e.champion_after for e in log.entries() if e.champion_after} - {before}, key=int)
    there = [version for version in once if _is_there(store, version)]
    others = f"'voltpipe rollback VERSION' accepts {', '.join(there)}." if there else "Train a better version."
    if target is None:
        raise TrackingError(f"There is no champion before version {before}. {others}", code="no-previous-champion")
    if target == before:
        raise TrackingError(f"Version {target} is already the champion. {others}", code="already-champion")
    found = get_version(store, target)
    if found is None:
        raise TrackingError(
            f"Version {target} does not exist in MLflow. It may have been deleted there. {others}",
            code="version-not-registered",
        )
    if found.archived:
        raise TrackingError(
            f"Version {target} is archived in MLflow. Move it out of the archive, or choose another. {others}",
            code="version-archived",
        )
    if target not in once:
        raise TrackingError(
            f"Version {target} was never champion, so it cannot be restored. {others}", code="never-champion"
        )
    load_forecaster(found.uri, store)


def _carry_out(store: TrackingStore, log: AuditLog, entry: AuditEntry) -> None:
    log.append(entry)
    _apply(store, log, entry)


def _apply(store: TrackingStore, log: AuditLog, entry: AuditEntry) -> None:
    """Set MLflow's aliases and tags to match an entry of the audit log. Repeating it changes nothing."""
    client = store.client
    if entry.moves and entry.champion_after and entry.action is not Action.MOVED_OUTSIDE:
        if entry.previous_after is not None and _is_there(store, entry.previous_after):
            client.set_registered_model_alias(MODEL_NAME, Alias.PREVIOUS, entry.previous_after)
        elif Alias.PREVIOUS in aliases(store):
            client.delete_registered_model_alias(MODEL_NAME, Alias.PREVIOUS)
        client.set_registered_model_alias(MODEL_NAME, Alias.CHAMPION, entry.champion_after)
    if entry.moves and aliases(store).get(Alias.CHALLENGER) == entry.champion_after:
        client.delete_registered_model_alias(MODEL_NAME, Alias.CHALLENGER)
    for version, tags in _tags(entry).items():
        for name, value in tags.items() if _is_there(store, version) else ():
            client.set_model_version_tag(MODEL_NAME, version, name, value)
    _describe(store, log.entries())
    client.set_registered_model_tag(MODEL_NAME, TRAIL_TAG, entry.entry_id)


def _tags(entry: AuditEntry) -> dict[str, dict[str, str]]:
    """Return the tags that an action sets on each version."""
    when = entry.at_utc.isoformat(timespec="seconds")
    if entry.action is Action.ROLLED_BACK:
        details = f"{when} by {entry.who}: {entry.why}"
        tags = {entry.version: {"restored": f"instead of version {entry.champion_before}, {details}"}}
        if entry.champion_before is not None:
            tags[entry.champion_before] = {"rolled_back": f"to version {entry.version}, {details}"}
        return tags
    if entry.action is Action.MOVED_OUTSIDE:
        return {entry.version: {"moved_outside": f"found as champion {when}"}}
    decided = {
        "gate.decision": entry.action.value,
        "gate.reason": entry.why,
        "gate.codes": ", ".join(entry.codes),
        "gate.by": entry.who,
        "gate.at": when,
    }
    promoted = {"promoted_utc": when} if entry.action is Action.PROMOTED else {}
    return {entry.version: decided | promoted}


def _follows(store: TrackingStore) -> str | None:
    model = registered_model(store)
    return model.tags.get(TRAIL_TAG) if model else None


def _describe(store: TrackingStore, entries: Sequence[AuditEntry]) -> None:
    """Write the latest lines of the audit log into the registered model's description."""
    # A list, because MLflow's page shows the cells of a table without space between them.
    history = "\n".join(f"- {entry.brief}" for entry in reversed(entries[-_DESCRIBED:]))
    store.client.update_registered_model(MODEL_NAME, f"{DESCRIPTION}\n\n## Promotion history\n\n{history}")


def _is_there(store: TrackingStore, version: str | None) -> bool:
    return version is None or get_version(store, version) is not None
