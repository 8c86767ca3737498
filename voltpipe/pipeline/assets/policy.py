"""What the policy of retraining has come to: what is new since the champion, what is due, and why not."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from voltpipe.pipeline.assets.live_skill import WHEN_SOMETHING_CAME, live_skill
from voltpipe.pipeline.assets.recordings import CONDITIONED_KEY
from voltpipe.pipeline.assets.registry import champion_forecaster, registered_forecaster
from voltpipe.pipeline.code_version import code_version
from voltpipe.pipeline.resources import LakeResource, TrackingResource
from voltpipe.pipeline.retraining import POLICY_FILE, read_policy, retraining_state
from voltpipe.tracking.retraining_policy import NewRecording, decide

GROUP = "monitoring"
SHOWN = 50
"""So many new recordings are named."""


@dg.asset(
    group_name=GROUP,
    kinds={"mlflow"},
    deps=[CONDITIONED_KEY, registered_forecaster, champion_forecaster, live_skill],
    automation_condition=WHEN_SOMETHING_CAME,
    code_version=code_version(__name__),
)
def retraining_policy(  # Dagster takes the bare class alone for an output without a value
    context: dg.AssetExecutionContext, lake: LakeResource, tracking: TrackingResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """How far it is to the next retraining. What is enough stands in `retraining.yaml` in Dagster's home."""
    policy = read_policy(lake.lake)
    state = retraining_state(context.instance, lake.lake, tracking.store, policy)
    decision, tonight = decide(policy, state), decide(policy, state, at_night=True)
    metadata: dict[str, Any] = {
        "due": decision.due,
        "why" if decision.due else "why not": decision.reason,
        "due at night": tonight.due,
        "champion": state.champion or "none",
        "new recordings": len(state.new),
        "new minutes": round(sum(each.minutes for each in state.new), 1),
        "not yet tried": len(state.untried),
        "tried by": state.tried_by or "no later version",
        "live skill": "; ".join(state.decayed) or "no decay known",
        "what is new": dg.MetadataValue.md(_table(state.new)),
        "policy": dg.MetadataValue.json(policy.model_dump(mode="json")),
        "policy file": dg.MetadataValue.path(lake.lake.dagster / POLICY_FILE),
    }
    if state.champion:
        metadata["champion's page"] = dg.MetadataValue.url(tracking.version_link(state.champion))
    return dg.MaterializeResult(metadata=metadata)


def _table(recordings: Sequence[NewRecording]) -> str:
    if not recordings:
        return "nothing"
    rows = [
        f"| {each.key} | {each.minutes:.1f} | {'changed' if each.changed else 'new'} |" for each in recordings[:SHOWN]
    ]
    if len(recordings) > SHOWN:
        rows.append(f"| and {len(recordings) - SHOWN:,} more | | |")
    return "\n".join(["| recording | minutes | |", "| --- | ---: | --- |", *rows])
