"""What the page's section on interpretation shows, for `interpretation.html`."""

import pandas as pd

from voltpipe.evaluation.evaluation import Evaluation
from voltpipe.evaluation.interpretation.interpretation import Interpretation
from voltpipe.evaluation.interpretation.text import (
    NOT_ASKED,
    ablation_rows,
    ablation_text,
    attribution_text,
    filter_text,
    influence_text,
    rankings_table,
)
from voltpipe.evaluation.isolation import Failure, attempt
from voltpipe.evaluation.page import finding


def interpretation_section(
    evaluation: Evaluation, interpretation: Interpretation, connectivity: pd.DataFrame
) -> dict[str, object]:
    """Return texts and small tables by name; where too little was held out, what can be said of the filters alone."""
    architecture, rate_hz = evaluation.forecaster, evaluation.provenance.rate_hz
    failed, ablations = interpretation.failed, interpretation.ablations
    filters = "filters" if "filters" in failed else "responses"
    section: dict[str, object] = {
        "asked": interpretation.asked,
        "finding": NOT_ASKED,
        "filters": finding(failed, filters, lambda: filter_text(interpretation.responses, architecture)),
    }
    if not interpretation.asked:
        return section
    rankings = attempt(lambda: rankings_table(interpretation.influence, connectivity))
    known = None if isinstance(rankings, Failure) else rankings
    rows = attempt(lambda: ablation_rows(ablations, rate_hz))
    attribution = interpretation.attribution
    return section | {
        "finding": finding(failed, "ablations", lambda: ablation_text(ablations, rate_hz)),
        "ablation_rows": None if isinstance(rows, Failure) else rows,
        "attribution": finding(failed, "attribution", lambda: attribution_text(attribution, architecture, rate_hz)),
        "influence": finding(failed, "influence", lambda: influence_text(interpretation.influence, known)),
        "rankings": known,
        "sanity": interpretation.sanity,
    }
