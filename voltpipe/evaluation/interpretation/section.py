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


def interpretation_section(
    evaluation: Evaluation, interpretation: Interpretation, connectivity: pd.DataFrame
) -> dict[str, object]:
    """Texts and small tables by name; where too little was held out, what can be said of the filters alone."""
    architecture, rate_hz = evaluation.forecaster, evaluation.provenance.rate_hz
    section: dict[str, object] = {
        "asked": interpretation.asked,
        "finding": ablation_text(interpretation.ablations, rate_hz) if interpretation.asked else NOT_ASKED,
        "filters": filter_text(interpretation.responses, architecture),
    }
    if not interpretation.asked:
        return section
    rankings = rankings_table(interpretation.influence, connectivity)
    return section | {
        "ablation_rows": ablation_rows(interpretation.ablations, rate_hz),
        "attribution": attribution_text(interpretation.attribution, architecture, rate_hz),
        "influence": influence_text(interpretation.influence, rankings),
        "rankings": rankings,
        "sanity": interpretation.sanity,
    }
