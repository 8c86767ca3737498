"""Assets of monitoring: the champion's live skill, and the state of the retraining policy."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from voltpipe.monitoring.retraining_policy import NewRecording, decide_retraining
from voltpipe.monitoring.settings import LiveSkillSettings
from voltpipe.pipeline.assets.registry import champion_forecaster, registered_forecaster
from voltpipe.pipeline.code_version import code_version
from voltpipe.pipeline.jobs import CONDITIONED_KEY
from voltpipe.pipeline.metadata import picture_metadata
from voltpipe.pipeline.op_config import op_config_schema, settings_from_config
from voltpipe.pipeline.resources import LakeResource, TrackingResource
from voltpipe.pipeline.retraining_requests import POLICY_FILE, read_policy, retraining_state

if TYPE_CHECKING:
    from voltpipe.monitoring.live_skill import LiveSkill


_POOL = "live_skill"
"""Two concurrent runs would score the same recordings, and one would lose its rows."""
_MAX_SCORE_ROWS, _MAX_NEW_ROWS = 20, 50
"""Maximum numbers of recordings in the tables of scores and of new recordings."""

ON_NEW_INPUT = (
    dg.AutomationCondition.any_deps_updated().since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
)


@dg.asset(
    group_name="monitoring",
    kinds={"parquet", "mlflow"},
    deps=[CONDITIONED_KEY, champion_forecaster],
    config_schema=op_config_schema(LiveSkillSettings),
    automation_condition=ON_NEW_INPUT,
    pool=_POOL,
    code_version=code_version(__name__),
    check_specs=[
        dg.AssetCheckSpec(
            "skill_holds",
            asset="live_skill",
            description="On each organoid's latest recordings, mean R2 is at most a bound below its value at training.",
        ),
        dg.AssetCheckSpec(
            "no_drift",
            asset="live_skill",
            description="In the latest recordings, channel mean, SD and spike rate stay within the training data.",
        ),
    ],
)
def live_skill(
    context: dg.AssetExecutionContext, lake: LakeResource, tracking: TrackingResource
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
    """Scores and drift of each recording that came after the champion's training.

    Each recording is scored once, with the lookup table and persistence as baselines.
    """
    from voltpipe.monitoring.live_skill import update_live_skill

    settings = settings_from_config(LiveSkillSettings, context.op_execution_context.op_config)
    found = update_live_skill(lake.lake, tracking.store, settings)
    for key, reason in found.refused.items():
        context.log.warning(f"{key} is not scored: {reason}")
    decayed = [decay.reason for decay in found.decays if decay.decayed]
    latest = {key for decay in found.decays for key in decay.recordings}
    drifted = sorted(_drifted(found) & latest)
    yield dg.MaterializeResult(
        metadata={**_metadata(found), "scores": dg.MetadataValue.path(lake.lake.live_skill)},
        check_results=[
            dg.AssetCheckResult(
                check_name="skill_holds",
                passed=not decayed,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"decayed": "; ".join(decayed) or "nothing"},
            ),
            dg.AssetCheckResult(
                check_name="no_drift",
                passed=not drifted,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"drifted": ", ".join(drifted) or "nothing"},
            ),
        ],
    )


def _metadata(found: "LiveSkill") -> dict[str, Any]:
    """Return the figure over time, a table of the latest recordings, and numbers that Dagster plots."""
    from voltpipe.monitoring.live_skill import CHAMPION, mean_r2
    from voltpipe.reporting.figures.live_skill_figure import live_skill_png

    if found.version is None:
        return {"champion": "none yet"}
    own = mean_r2(found.scores, found.version)
    metadata: dict[str, Any] = {
        "champion": found.version,
        "recordings scored": len(own),
        "skill": "; ".join(decay.reason for decay in found.decays) or "no recordings since the champion's training",
        "not scored": dg.MetadataValue.json(dict(found.refused)),
    }
    if not len(own):
        return metadata
    expected = sum(found.expected_r2.values()) / len(found.expected_r2) if found.expected_r2 else None
    metadata["latest R2"] = float(own.iloc[-1])
    metadata |= {"expected R2": expected} if expected is not None else {}
    metadata["over time"] = picture_metadata(
        "live skill", live_skill_png(found.scores, frozenset(_drifted(found)), expected)
    )
    others = sorted(set(found.of_version()["forecaster"]) - {CHAMPION})
    baselines = {name: mean_r2(found.scores, found.version, name) for name in others}
    rows = [f"| recording | champion | {' | '.join(others)} | drifted |", "| --- |" + " ---: |" * (len(others) + 2)]
    for key in reversed(own.index[-_MAX_SCORE_ROWS:]):
        cells = " | ".join(f"{baselines[name][key]:.3f}" for name in others)
        rows.append(f"| {key} | {own[key]:.3f} | {cells} | {'yes' if key in _drifted(found) else ''} |")
    metadata["latest recordings"] = dg.MetadataValue.md("\n".join(rows))
    return metadata


def _drifted(found: "LiveSkill") -> set[str]:
    table = found.drift
    return set(table.loc[(table["version"] == found.version) & table["drifted"], "recording"]) if len(table) else set()


@dg.asset(
    group_name="monitoring",
    kinds={"mlflow"},
    deps=[CONDITIONED_KEY, registered_forecaster, champion_forecaster, live_skill],
    automation_condition=ON_NEW_INPUT,
    code_version=code_version(__name__),
)
def retraining_policy(  # Dagster accepts only the bare class for an output without a value
    context: dg.AssetExecutionContext, lake: LakeResource, tracking: TrackingResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The state of the retraining policy, and whether a retraining is due.

    The thresholds are in `retraining.yaml` in Dagster's home.
    """
    policy = read_policy(lake.lake)
    state = retraining_state(context.instance, lake.lake, tracking.store, policy)
    decision, tonight = decide_retraining(policy, state), decide_retraining(policy, state, at_night=True)
    metadata: dict[str, Any] = {
        "due": decision.due,
        "why" if decision.due else "why not": decision.reason,
        "due at night": tonight.due,
        "champion": state.champion or "none",
        "new recordings": len(state.new),
        "new minutes": round(sum(recording.minutes for recording in state.new), 1),
        "not yet tried": len(state.untried),
        "tried by": state.tried_by or "no later version",
        "live skill": "; ".join(state.decayed) or "no decay known",
        "what is new": dg.MetadataValue.md(_new_recordings_table(state.new)),
        "policy": dg.MetadataValue.json(policy.model_dump(mode="json")),
        "policy file": dg.MetadataValue.path(lake.lake.dagster / POLICY_FILE),
    }
    if state.champion:
        metadata["champion's page"] = dg.MetadataValue.url(tracking.version_link(state.champion))
    return dg.MaterializeResult(metadata=metadata)


def _new_recordings_table(recordings: Sequence[NewRecording]) -> str:
    if not recordings:
        return "nothing"
    rows = [
        f"| {recording.key} | {recording.minutes:.1f} | {'changed' if recording.changed else 'new'} |"
        for recording in recordings[:_MAX_NEW_ROWS]
    ]
    if len(recordings) > _MAX_NEW_ROWS:
        rows.append(f"| and {len(recordings) - _MAX_NEW_ROWS:,} more | | |")
    return "\n".join(["| recording | minutes | content |", "| --- | ---: | --- |", *rows])
