"""Which inputs are moved and which are told: split and join undo each other, bad choices are named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koopctrl.controllers.channels import choose_channels
from koopctrl.errors import OptionError

NAMES = ("pump", "load", "valve", "wind")


@given(st.permutations(range(4)), st.integers(0, 3), st.lists(st.integers(1, 3), max_size=2))
def test_split_and_join_undo_each_other(order, n_told, shape):
    channels = choose_channels(NAMES, [NAMES[i] if i % 2 else i for i in order[:n_told]])
    assert (channels.n_u, channels.n_v) == (4 - n_told, n_told)
    full = np.random.default_rng(0).normal(size=(*shape, 4))
    u, v = channels.split(full)
    # Those that are told come in the order in which they were named, the others in the model's.
    np.testing.assert_array_equal(v, full[..., list(order[:n_told])])
    np.testing.assert_array_equal(u, full[..., sorted(order[n_told:])])
    np.testing.assert_array_equal(channels.join(u, v), full)


def test_one_may_be_named_alone_and_none_need_be():
    for one in ("load", 1, np.int64(1), ["load"]):
        assert choose_channels(NAMES, one).told.tolist() == [1]
    assert choose_channels(NAMES, None).moved.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        (["sun"], "has 'sun'; expected names or positions"),
        ([True], "has True"),
        ([1.0], "has 1.0"),
        ([4], "at most once"),
        ([-1], "at most once"),
        (["load", 1], "at most once"),
        (range(4), "names all inputs"),
    ],
)
def test_choices_that_cannot_be_are_refused_by_name(measured, message):
    with pytest.raises(OptionError, match=message):
        choose_channels(NAMES, measured)
