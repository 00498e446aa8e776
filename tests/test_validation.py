"""The checks of what callers pass in: what passes, what does not, and that messages name the argument."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from koopctrl import _validation as v
from koopctrl import errors
from koopctrl.errors import DataError, KoopctrlError, NotFittedError, OptionError, ShapeError, TimeBaseError

finite = st.floats(-1e6, 1e6)


def test_every_error_is_a_koopctrl_error_and_a_builtin_one():
    kinds = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, KoopctrlError)]
    assert len(kinds) == 7
    for kind in kinds:
        assert kind is KoopctrlError or issubclass(kind, (ValueError, RuntimeError))


@given(
    hnp.arrays(
        st.sampled_from([np.int8, np.uint32, np.float32, np.float64, np.bool_]), hnp.array_shapes(min_dims=0)
    )
)
def test_as_float_array_keeps_shape_and_values_and_does_not_write(value):
    if not np.isfinite(value).all():
        value = np.zeros_like(value)
    before = value.copy()
    out = v.as_float_array(value, "x")
    assert out.dtype == np.float64
    assert out.shape == value.shape
    np.testing.assert_array_equal(out, value.astype(float))
    np.testing.assert_array_equal(value, before)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([[1.0], [1.0, 2.0]], ShapeError),
        (["a", "b"], DataError),
        ([1.0 + 2.0j], DataError),
        ([None, 1.0], DataError),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), DataError),
        (np.ma.masked_array([1.0, 2.0], mask=[True, False]), DataError),
    ],
)
def test_as_float_array_refuses_what_is_not_a_rectangle_of_real_numbers(value, kind):
    with pytest.raises(kind, match="signal_a"):
        v.as_float_array(value, "signal_a")


def test_as_float_array_takes_a_masked_array_that_hides_nothing():
    np.testing.assert_array_equal(v.as_float_array(np.ma.masked_array([1.0, 2.0]), "x"), [1.0, 2.0])


def test_as_float_array_takes_objects_that_are_numbers():
    np.testing.assert_array_equal(
        v.as_float_array(np.array([1, 2.5, np.float32(3)], dtype=object), "x"), [1, 2.5, 3]
    )


@given(st.integers(1, 5), st.integers(1, 4), st.data())
def test_check_finite_points_at_the_first_bad_sample(rows, columns, data):
    array = np.zeros((rows, columns))
    i, j = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    array[i, j] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    with pytest.raises(DataError, match=rf"chan has 1 NaN .* \({i}, {j}\)"):
        v.check_finite(array, "chan")


def test_as_signal_shapes():
    assert v.as_signal([1, 2, 3], "y").shape == (3, 1)
    assert v.as_signal(np.empty((0, 2)), "y").shape == (0, 2)
    for bad in (1.0, np.zeros((2, 2, 2))):
        with pytest.raises(ShapeError, match="sig"):
            v.as_signal(bad, "sig")
    with pytest.raises(ShapeError, match=r"sig has 3 columns; expected 2$"):
        v.as_signal(np.zeros((4, 3)), "sig", 2)
    for shape in ((2, 50), (2, 3)):
        with pytest.raises(ShapeError, match=r"expected 2\. Turned\?.*sig\.T"):
            v.as_signal(np.zeros(shape), "sig", 2)


def test_vectors_and_matrices():
    np.testing.assert_array_equal(v.as_vector(3, "a", 1), [3.0])
    with pytest.raises(ShapeError, match="vec"):
        v.as_vector(3, "vec", 2)
    with pytest.raises(ShapeError, match="vec"):
        v.as_vector([[1.0, 2.0]], "vec", 2)
    np.testing.assert_array_equal(v.broadcast_vector(3, "a", 2), [3.0, 3.0])
    np.testing.assert_array_equal(v.broadcast_vector(math.inf, "a", 2, finite=False), [np.inf, np.inf])
    with pytest.raises(DataError, match="vec"):
        v.broadcast_vector(math.inf, "vec", 2)
    with pytest.raises(DataError, match="vec"):
        v.broadcast_vector([0.0, math.nan], "vec", 2, finite=False)
    assert v.as_matrix(2.0, "m").shape == (1, 1)
    with pytest.raises(ShapeError, match="mat"):
        v.as_matrix([1.0, 2.0], "mat")
    with pytest.raises(ShapeError, match="mat"):
        v.as_matrix(np.eye(2), "mat", (2, 3))


@given(hnp.arrays(float, (3, 3), elements=st.floats(-10, 10)))
def test_any_gram_matrix_is_a_weight(m):
    np.testing.assert_allclose(v.as_weight(m @ m.T, "Q", 3), m @ m.T, atol=1e-9)


def test_weights():
    np.testing.assert_array_equal(v.as_weight(2.0, "Q", 2), 2 * np.eye(2))
    np.testing.assert_array_equal(v.as_weight([1.0, 2.0], "Q", 2), np.diag([1.0, 2.0]))
    assert v.as_weight(1.0, "Q", 0).shape == (0, 0)
    v.as_weight(0.0, "Q", 2)
    for bad in (0.0, [1.0, 0.0], [1.0, -1.0]):
        with pytest.raises(OptionError, match="R has smallest eigenvalue"):
            v.as_weight(bad, "R", 2, definite=True)
    with pytest.raises(OptionError, match="Q has smallest eigenvalue"):
        v.as_weight([1.0, -1e-3], "Q", 2)
    with pytest.raises(OptionError, match="Q is not symmetric"):
        v.as_weight([[1.0, 0.5], [0.0, 1.0]], "Q", 2)
    with pytest.raises(ShapeError, match="Q"):
        v.as_weight(np.eye(3), "Q", 2)
    with pytest.raises(ShapeError, match="Q"):
        v.as_weight([1.0, 2.0, 3.0], "Q", 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, [1.0, math.nan], [[math.inf, 0], [0, 1.0]]])
def test_weights_must_be_finite(bad):
    with pytest.raises(DataError, match="Q"):
        v.as_weight(bad, "Q", 2)


@pytest.mark.parametrize("scale", [1e-200, 1e-12, 1e12, 1e200])
def test_weights_of_any_scale(scale):
    np.testing.assert_array_equal(v.as_weight(scale * np.eye(2), "R", 2, definite=True), scale * np.eye(2))
    with pytest.raises(OptionError):
        v.as_weight(scale * np.diag([1.0, -1.0]), "R", 2)


@pytest.mark.parametrize("bad", [None, True, 0, 0.0, -0.1, math.nan, math.inf, "fast", [0.1, 0.2], 1j])
def test_dt_must_be_a_positive_number(bad):
    with pytest.raises(TimeBaseError, match="dt is"):
        v.check_dt(bad)


def test_dt():
    assert v.check_dt(np.float32(0.5)) == 0.5
    assert v.check_dt(0, allow_zero=True) == 0.0
    v.check_same_dt(0.1, 0.1 * (1 + 1e-9), "a and b")
    v.check_same_dt(0.0, 0.0, "a and b")
    for other in (0.1001, 1.0, 0.0):
        with pytest.raises(TimeBaseError, match="a and b"):
            v.check_same_dt(0.1, other, "a and b")


@pytest.mark.parametrize(
    "bad",
    [
        "x",
        b"1",
        None,
        math.nan,
        math.inf,
        -math.inf,
        1.5,
        -0.5,
        [1, 2],
        [[1, 2], [3]],
        (),
        {},
        1j,
        10**400,
        object(),
    ],
)
def test_numbers_out_of_range(bad):
    with pytest.raises(OptionError, match="gain is"):
        v.check_number(bad, "gain", low=0.0, high=1.0)


def test_an_infinite_number_is_refused_without_bounds_too():
    for bad in (math.inf, -math.inf, math.nan):
        with pytest.raises(OptionError, match="gain is"):
            v.check_number(bad, "gain")


def test_numbers():
    assert v.check_number(0, "g", low=0.0) == 0.0
    assert v.check_number(np.float64(1), "g", high=1.0, low=0.0, strict=True) == 1.0
    with pytest.raises(OptionError, match="g is 0"):
        v.check_number(0, "g", low=0.0, strict=True)


@pytest.mark.parametrize("bad", [True, np.True_, 1.0, "3", None, -1, math.nan])
def test_integers(bad):
    with pytest.raises(OptionError, match="width is"):
        v.check_integer(bad, "width")
    assert v.check_integer(np.int32(4), "width") == 4


@pytest.mark.parametrize("bad", ["Swim", None, 3, [], {}])
def test_choices(bad):
    with pytest.raises(OptionError, match=r"sampler is .*'swim', 'elm'"):
        v.check_choice(bad, "sampler", ("swim", "elm"))


def test_names():
    assert v.check_names(None, "names", 2, "y") == ("y0", "y1")
    assert v.check_names("speed", "names", 1, "y") == ("speed",)
    assert v.check_names(["a", 3], "names", 2, "y") == ("a", "3")
    with pytest.raises(ShapeError, match="names has 1 names; expected 2"):
        v.check_names(["a"], "names", 2, "y")
    with pytest.raises(OptionError, match="repeats"):
        v.check_names(["a", "a"], "names", 2, "y")


def test_check_fitted():
    class Estimator:
        pass

    with pytest.raises(NotFittedError, match="Estimator is not fitted"):
        v.check_fitted(Estimator(), "network_")


def test_values_of_another_kind_are_refused_by_name():
    with pytest.raises(DataError, match="signal_a has integers beyond float64"):
        v.as_float_array([[10**400, 1]], "signal_a")
    with pytest.raises(OptionError, match="state_names is 3"):
        v.check_names(3, "state_names", 2, "x")
    for odd in (["swim"], np.array(["swim", "elm"]), {"swim": 1}):
        with pytest.raises(OptionError, match="sampler is"):
            v.check_choice(odd, "sampler", {"swim": 1, "elm": 2})


@pytest.mark.parametrize("exponents", [(0, 0, 0), (9, 0, -9), (-9, 9, 0), (-9, -9, 9)])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (np.zeros((3, 3)), None),
        ([[0, 1e-12, 0], [0, 0, 0], [0, 0, 0]], None),  # rounding
        ([[0, 1e-6, 0], [0, 0, 0], [0, 0, 0]], "symmetric"),
        ([[0, 0, 1e-6], [0, 0, 0], [0, 0, 0]], "symmetric"),
        ([[0, 1.5, 0], [1.5, 0, 0], [0, 0, 0]], "smallest eigenvalue"),
        ([[0, 0, 0], [0, 0, 1.001], [0, 1.001, 0]], "smallest eigenvalue"),
        ([[0, 0, 0], [0, 0, 0.999], [0, 0.999, 0]], None),
        ([[0, 1.0, 0], [1.0, 0, 0], [0, 0, 0]], "definite"),  # singular
    ],
)
def test_weights_are_judged_on_their_diagonals_scale(exponents, change, message):
    scale = 10.0 ** np.array(exponents)
    weight = (np.eye(3) + change) * scale[:, None] * scale
    if message is None:
        half = 0.5 * (weight + weight.T)
        np.testing.assert_allclose(v.as_weight(weight, "Q", 3, definite=True), half, rtol=1e-9)
    else:
        with pytest.raises(OptionError, match=message):
            v.as_weight(weight, "Q", 3, definite=True)
