"""Predictability ceilings and irreducible error of the reference preparations, as in voltpipe.simulation.ceiling.

Takes about six minutes on one core.
"""

import numpy as np
from ceilings.measure_ceiling import measure_ceilings, measure_irreducible_error_mv2

from voltpipe.simulation.ceiling import HORIZONS_MS
from voltpipe.simulation.network import draw_network
from voltpipe.simulation.settings import Preparation

_ORGANOID_SEED = 72
_BRUNEL_SEEDS = range(50)
_EARLIER = {1: 0.787, 2: 0.610, 3: 0.456, 5: 0.280, 10: 0.116, 20: 0.027}
"""Earlier estimate for brunel: ceiling given the full state, from 300 branches, standard error 0.007 to 0.012."""


def main() -> None:
    brunel = np.stack([draw_network(seed) for seed in _BRUNEL_SEEDS])
    organoid = draw_network(_ORGANOID_SEED)[None]
    for preparation, weights_mv, n_copies in ((Preparation.BRUNEL, brunel, 1), (Preparation.ORGANOID, organoid, 32)):
        ceilings = measure_ceilings(weights_mv, n_copies=n_copies, n_states=40, n_branches=20, n_particles=256, seed=0)
        print(f"{preparation.value:8}  full state         1 ms samples       hidden state       earlier", flush=True)
        for horizon_ms in ceilings.full_state.r2:
            cells = [
                f"{ceiling.r2[horizon_ms]:.4f} +- {ceiling.standard_error[horizon_ms]:.4f}"
                for ceiling in (ceilings.full_state, ceilings.observable, ceilings.hidden)
            ]
            earlier = f"{_EARLIER[horizon_ms]:.3f}" if preparation == Preparation.BRUNEL else ""
            print("   ".join([f"  {horizon_ms:2d} ms", *cells, earlier]), flush=True)
    both = np.concatenate([brunel, organoid.repeat(14, axis=0)])
    least_mv2 = measure_irreducible_error_mv2(both, n_copies=1, n_states=80, n_branches=20, seed=0)
    print("irreducible squared error (mV squared) by present voltage")
    for horizon_ms, of_bins in zip(HORIZONS_MS, least_mv2, strict=True):
        print(f"  {horizon_ms:2d} ms: ", ", ".join(f"{value:.2f}" for value in of_bins), flush=True)


if __name__ == "__main__":
    main()
