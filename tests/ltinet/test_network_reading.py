"""Models that a network is read from: names, sample times, sparse and discrete ones, what is refused."""

from __future__ import annotations

import control
import numpy as np
import pytest
from scipy import sparse

from koopctrl import LTINetwork
from koopctrl.errors import KoopctrlError, OptionError, ShapeError, SolverError, TimeBaseError
from tests.plants_lti import (
    chain,
    convection_diffusion_1d,
    diffusion_2d,
    jordan,
    random_mimo,
)


def test_reads_a_statespace_and_keeps_its_names() -> None:
    sys = control.StateSpace(
        *chain(3), inputs=["force"], outputs=["far", "near"], states=[f"s{i}" for i in range(6)]
    )
    net = LTINetwork.from_statespace(sys)
    assert (net.input_names, net.output_names) == (("force",), ("far", "near"))
    back = net.to_statespace()
    assert back.input_labels == ["force"]
    assert back.output_labels == ["far", "near"]
    assert back.state_labels == list(net.neuron_names)
    original = net.to_statespace("original")
    assert original.state_labels == sys.state_labels
    np.testing.assert_allclose(original.A, sys.A, atol=1e-13)
    np.testing.assert_allclose(original.B, sys.B, atol=1e-13)
    np.testing.assert_allclose(original.C, sys.C, atol=1e-13)


D1 = ([[0.5]], [[1.0]], [[1.0]], 0)


@pytest.mark.parametrize(
    ("sys", "dt"),
    [
        ((*D1, 0.1), 0.2),
        ((*D1, 0.1), 0.0),
        ((*D1, 0.0), 0.1),
        ((*D1, 0), 1),
        (control.StateSpace(*D1, 0.1), 0.2),
        (control.StateSpace(*D1, 0.1), 0.1001),
        (control.StateSpace(*D1), 0.1),
        (control.StateSpace(*D1, True), 0.0),
        ((*D1, 0.1), 10**400),
        ((*D1, 0.1), "fast"),
        ((*D1, "fast"), 0.1),
        ((*D1, -0.1), None),
    ],
)
def test_a_sample_time_that_is_stated_twice_in_two_ways_is_refused(sys, dt) -> None:
    with pytest.raises(TimeBaseError, match="dt"):
        LTINetwork.from_statespace(sys, dt=dt)


@pytest.mark.parametrize(
    ("sys", "dt", "seconds"),
    [
        ((*D1, 0.1), 0.1, 0.1),
        ((*D1, 0.1), np.float32(0.1), 0.1),
        ((*D1, 0.1), None, 0.1),
        ((*D1, None), 0.2, 0.2),
        (D1, 0.2, 0.2),
        (D1, None, 0.0),
        ((*D1, 0), 0, 0.0),
        (control.StateSpace(*D1, True), 0.2, 0.2),
        (control.StateSpace(*D1, None), 0.2, 0.2),
        (control.StateSpace(*D1, 0.1), 0.1, 0.1),
    ],
)
def test_a_sample_time_that_is_stated_once_or_twice_alike_is_used(sys, dt, seconds) -> None:
    assert LTINetwork.from_statespace(sys, dt=dt).sample_time == seconds


def test_reads_arrays_lists_and_sparse_matrices() -> None:
    A, B, C, D = diffusion_2d(5)
    dense = LTINetwork.from_statespace((A, B, C, D))
    thin = LTINetwork.from_statespace((sparse.csr_array(A), sparse.csr_array(B), sparse.coo_array(C), 0))
    np.testing.assert_array_equal(dense.B, thin.B)
    assert LTINetwork.from_statespace(([[-1]], [[1]], [[1]], 0)).n_neurons == 1
    static = LTINetwork.from_statespace(control.StateSpace([], [], [], [[2.0, 3.0]]))
    np.testing.assert_array_equal(static.simulate([0, 1, 2], np.ones((3, 2))).outputs, np.full((3, 1), 5.0))
    assert static.summary().n_states == 0
    silent = LTINetwork.from_statespace((A, np.zeros((25, 0)), C, np.zeros((3, 0))))
    assert silent.simulate([0, 0.1], np.zeros((2, 0)), np.ones(25)).outputs.shape == (2, 3)


@pytest.mark.parametrize(
    ("sys", "error", "text"),
    [
        (3.0, OptionError, "num and den"),
        (([[-1]], [[1]], [[1]]), OptionError, "3 entries"),
        (([[-1, 0]], [[1]], [[1]], 0), ShapeError, "square"),
        (([[-1]], [[1], [2]], [[1]], 0), ShapeError, "B has 2 rows"),
        (([[-1]], [[1]], [[1, 2]], 0), ShapeError, "C has 2 columns"),
        (([[-1]], [[1]], [[1]], [[0, 0]]), ShapeError, "D has shape"),
        (control.StateSpace(-1, 1, 1, 0, True), TimeBaseError, "dt=True"),
    ],
)
def test_what_cannot_be_read(sys: object, error: type[KoopctrlError], text: str) -> None:
    with pytest.raises(error, match=text):
        LTINetwork.from_statespace(sys)


@pytest.mark.parametrize("A", [[[0.5, 0.0], [0.0, -0.5]], [[0.0, 1.0], [0.0, 0.0]]])
def test_continuous_neurons_of_a_model_without_a_logarithm_are_refused(A) -> None:
    model = control.StateSpace(A, [[1], [1]], [[1, 1]], 0, 0.1)
    with pytest.raises(SolverError, match="logarithm"):
        LTINetwork.from_statespace(model, time="continuous")
    assert LTINetwork.from_statespace(model).discrete


@pytest.mark.parametrize(
    "model", [random_mimo(8, 2, 2, 3), jordan(4), chain(4), convection_diffusion_1d(9, 0.9)]
)
def test_a_discrete_model_is_given_back_when_sampled(model: tuple[np.ndarray, ...]) -> None:
    discrete = control.c2d(control.StateSpace(*model), 0.02)
    net = LTINetwork.from_statespace(discrete)
    assert net.sample_time == 0.02
    u = np.random.default_rng(0).standard_normal((80, model[1].shape[1]))
    t = 0.02 * np.arange(80)
    theirs = control.forced_response(discrete, t, u.T, squeeze=False).outputs.T
    np.testing.assert_allclose(net.simulate(t, u).outputs, theirs, atol=1e-9 * np.abs(theirs).max())
    values = np.sort_complex(net.eigenvalues)
    np.testing.assert_allclose(values, np.sort_complex(np.linalg.eigvals(model[0])), rtol=1e-2, atol=1e-3)
    with pytest.raises(OptionError, match="foh"):
        net.simulate(t, u, hold="foh")


def test_large_sparse_models_have_one_remedy() -> None:
    wide = sparse.eye_array(4001, format="csr") * -1.0 + sparse.eye_array(4001, k=1, format="csr") * 0.1
    model = (wide, np.ones((4001, 1)), np.ones((1, 4001)), 0)
    for arguments in ({}, {"n_modes": 3}):
        with pytest.raises(KoopctrlError, match="from_reduced"):
            LTINetwork.from_statespace(model, **arguments)
    assert LTINetwork.from_reduced(model, 2).n_states == 2
