"""Computing side by side is as computing one after the other, only sooner."""

from threading import Barrier, get_ident

import pytest
import torch

from voltpipe.forecasting.device import cpu_threads
from voltpipe.forecasting.side_by_side import side_by_side


def test_two_at_a_time_each_on_a_thread_of_its_own_and_in_order():
    both_are_here = Barrier(2, timeout=60)

    def work(item):
        both_are_here.wait()
        return item, get_ident(), torch.get_num_threads()

    with cpu_threads(2):
        items, threads, torch_threads = zip(*side_by_side(work, range(4)), strict=True)
        assert torch.get_num_threads() == 2
    assert items == (0, 1, 2, 3)
    assert len(set(threads)) == 2
    assert get_ident() not in threads
    assert set(torch_threads) == {1}


def test_one_after_the_other_where_torch_has_one_thread():
    with cpu_threads(1):
        assert set(side_by_side(lambda _: get_ident(), range(3))) == {get_ident()}


@pytest.mark.parametrize("n_threads", [1, 2])
def test_what_goes_wrong_ends_it_with_what_was_not_begun(n_threads):
    begun = []

    def work(item):
        begun.append(item)
        raise ValueError(item)

    with cpu_threads(n_threads), pytest.raises(ValueError, match="0"):
        list(side_by_side(work, range(1000)))
    assert len(begun) < 1000
