"""Derivatives of sampled layers: against mpmath and finite differences, open, periodic and mixed axes."""

import mpmath
import numpy as np
import pytest

from koopctrl.errors import OptionError, ShapeError
from koopctrl.sampled.pde import Ball, Box, Interval
from koopctrl.sampled.pde.layer import sample_layer
from koopctrl.sampled.pde.multi_index import parse, tanh_derivative


@pytest.mark.parametrize("order", range(5))
def test_derivatives_of_tanh(order):
    for p in (-1.3, 0.0, 0.4, 2.0):
        expected = float(mpmath.diff(mpmath.tanh, p, order))
        assert tanh_derivative(np.tanh(np.array(p)), order) == pytest.approx(expected, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize(
    "name", ["u_x", "u_xx", "u_xxx", "u_xxxx", "u_y", "u_xy", "u_xxy", "u_xxyy", "u_yyyy", "u_xyz"]
)
def test_derivatives_against_finite_differences_of_the_next_lower_one(name):
    domain = Box([0.0, -1.0, 2.0], [1.5, 1.0, 5.0], periodic=[True, False, True])
    rng = np.random.default_rng(0)
    layer = sample_layer(domain, 30, rng, pair_distance=0.2)
    points = domain.low + domain.extent * rng.uniform(size=(20, 3))
    axis = "xyz".index(name[-1])
    lower = parse("u" if len(name) == 3 else name[:-1], domain.axis_names)
    h = 1e-4 * np.eye(3)[axis]
    (minus,), (plus,) = layer.jet(points - h, [lower]), layer.jet(points + h, [lower])
    (two_minus,), (two_plus,) = layer.jet(points - 2 * h, [lower]), layer.jet(points + 2 * h, [lower])
    slope = (two_minus - 8 * minus + 8 * plus - two_plus) / (12e-4)
    found = layer.jet(points, [parse(name, domain.axis_names)])[0]
    np.testing.assert_allclose(found, slope, rtol=1e-6, atol=1e-7 * np.abs(found).max())


def test_a_periodic_layer_repeats_with_all_its_derivatives():
    domain = Interval(2.0, 5.0, periodic=True)
    layer = sample_layer(domain, 50, np.random.default_rng(1))
    ends = layer.jet(np.array([[2.0], [5.0]]), [(k,) for k in range(5)])
    for values in ends:
        np.testing.assert_allclose(values[0], values[1], rtol=1e-9, atol=1e-9 * np.abs(values).max())


def test_even_and_odd_harmonics_are_within_reach():
    """Neurons from two points of a circle alone would be odd under half a turn."""
    domain = Interval(0.0, 1.0, periodic=True)
    x = np.arange(400)[:, None] / 400
    features = sample_layer(domain, 200, np.random.default_rng(0), pair_distance=0.05).jet(x, [(0,)])[0]
    for k in (1, 2, 3, 6):
        target = np.cos(2 * np.pi * k * x[:, 0])
        left = target - features @ np.linalg.lstsq(features, target, rcond=1e-11)[0]
        assert np.abs(left).max() < 1e-6


def test_the_sum_of_second_derivatives_is_that_of_single_ones():
    domain = Ball(np.zeros(6), 2.0)
    rng = np.random.default_rng(0)
    layer = sample_layer(domain, 20, rng, pair_distance=0.3)
    points = domain.quadrature(30, rng).points
    k = np.arange(1.0, 7.0)
    single = layer.jet(points, [tuple(2 * (i == j) for j in range(6)) for i in range(6)])
    np.testing.assert_allclose(
        layer.second_order_sum(points, k), np.tensordot(k, single, 1), rtol=1e-12, atol=1e-12
    )


def test_pairs_keep_their_distance():
    domain = Box([0.0, 0.0], [1.0, 1e-6])
    for directions in ("any", "axes", np.array([[1.0], [1e-6]])):
        layer = sample_layer(domain, 300, np.random.default_rng(0), pair_distance=0.12, directions=directions)
        # A tanh neuron from a pair at scaled distance d has a weight of length ln 3 / d.
        length = np.log(3.0) / np.linalg.norm(layer.hidden.weights, axis=1)
        assert length.min() > 0.05
        assert length.max() < 0.8


@pytest.mark.parametrize("name", ["u_xxxxx", "u_z", "v", "u_", 3, "u_xyxyx"])
def test_unknown_derivatives_are_refused(name):
    with pytest.raises(OptionError, match="derivative"):
        parse(name, ("x", "y"))


def test_many_axes_have_numbers():
    names = tuple(f"x{i}" for i in range(12))
    assert parse("u_x0x11x11", names) == (1, *[0] * 10, 2)


def test_bad_layers_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(OptionError, match="directions"):
        sample_layer(Interval(0, 1), 5, rng, directions="up")
    with pytest.raises(ShapeError, match="directions"):
        sample_layer(Box([0, 0], [1, 1]), 5, rng, directions=np.eye(3))
    with pytest.raises(OptionError, match="pair_distance"):
        sample_layer(Interval(0, 1), 5, rng, pair_distance=0.0)
