"""Measures the figures in voltpipe.simulation.ceiling: about three minutes on 2 cores."""

import numpy as np

from voltpipe.simulation.measure_ceiling import measure_ceiling
from voltpipe.simulation.network import draw_network
from voltpipe.simulation.settings import Preparation

_ORGANOID_SEED = 72
_BRUNEL_SEEDS = range(50)


def main() -> None:
    brunel = np.stack([draw_network(seed) for seed in _BRUNEL_SEEDS])
    organoid = draw_network(_ORGANOID_SEED)[None]
    for preparation, weights_mv, n_copies in ((Preparation.BRUNEL, brunel, 1), (Preparation.ORGANOID, organoid, 32)):
        ceiling = measure_ceiling(weights_mv, n_copies=n_copies, n_states=40, n_branches=20, seed=0)
        print(preparation.value)
        for horizon_ms, r2 in ceiling.r2.items():
            print(f"  {horizon_ms:2d} ms  R2 {r2:.4f} +- {ceiling.standard_error[horizon_ms]:.4f}")


if __name__ == "__main__":
    main()
