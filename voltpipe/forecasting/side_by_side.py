"""Independent computations, several at a time."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from voltpipe.forecasting.device import cpu_threads

Item = TypeVar("Item")
Made = TypeVar("Made")


def side_by_side(work: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """What is made of each item, in their order; as many at a time as torch may use threads, each with one of its own.

    Torch's own threads would wait for each other many times as long as they compute, as the steps are small and many;
    two items at a time do not, since it lets go of Python's lock while it computes. Modes such as
    `torch.inference_mode` belong to a thread, so that `work` enters them itself.
    """
    n_at_a_time = torch.get_num_threads()

    with cpu_threads(1):
        if n_at_a_time == 1:
            yield from map(work, items)
            return
        pool = ThreadPoolExecutor(n_at_a_time, initializer=torch.set_num_threads, initargs=(1,))
        try:
            yield from pool.map(work, items)
        finally:
            pool.shutdown(cancel_futures=True)
