"""Designs tried on the network: terminal weights, warnings by name, verify_design."""

from dataclasses import replace

import numpy as np
import pytest

from koopctrl import KoopmanRNN, LiftedModel, LinearMPC, load, verify_design
from koopctrl.controllers import RNNMPC
from koopctrl.controllers.design import verify
from koopctrl.controllers.mpc import terminal
from koopctrl.controllers.mpc.trial import AWAY, Outcome, beside, law_sender, make_episodes, relative, run
from koopctrl.errors import DesignWarning, OptionError, ShapeError

SIZE = {"Q": 1.0, "R": 0.1, "u_min": -3.0, "u_max": 3.0}


@pytest.fixture(scope="module")
def good(network):
    return network.lift_at(0.0, 0.0, horizon=15)


@pytest.fixture(scope="module")
def spoilt(good):
    """A model whose input acts the other way round: the loop runs to its bounds."""
    return replace(good, B=-good.B)


def test_the_terminal_weight_is_the_one_that_costs_least_on_the_network(good):
    mpc = LinearMPC(good, 15, **SIZE)
    trial = mpc.trial
    assert mpc.terminal == trial.terminal
    kinds = {k: v for k, v in trial.costs.items() if k != "linear"}
    assert kinds[mpc.terminal] <= 1.02 * min(kinds.values())
    assert "linear" in trial.costs
    assert not trial.doubtful


@pytest.mark.parametrize("kind", ["riccati", "state", "none"])
def test_a_weight_that_is_asked_for_is_taken(good, kind):
    mpc = LinearMPC(good, 15, terminal=kind, **SIZE)
    assert mpc.terminal == kind
    assert (mpc.P is None) == (kind == "none")
    if kind == "state":
        assert not mpc.P[2:].any()
        a, b = network_derivatives(good)
        P, K = mpc.P[:2, :2], mpc.K[:, :2]
        # The residual of the Riccati equation of the network's derivatives.
        Q = good.C[:, :2].T @ good.C[:, :2]
        np.testing.assert_allclose(a.T @ P @ (a - b @ K) + Q, P, atol=1e-8 * np.abs(P).max())


def network_derivatives(lifted):
    scale = lifted.observables.x_scale
    a, b = lifted.network.jacobian(lifted.x_op, lifted.u_op)
    return a * scale / scale[:, None], b / scale[:, None]


def test_a_model_that_is_wrong_is_warned_of_by_name_where_it_is_made(spoilt):
    with pytest.warns(DesignWarning, match="LinearMPC on this lifted model, tried on the network") as caught:
        mpc = LinearMPC(spoilt, 15, **SIZE)
    assert caught[0].filename == __file__
    assert mpc.trial.doubtful
    LinearMPC(spoilt, 15, check=False, **SIZE)  # says nothing


def test_without_a_network_nothing_is_tried():
    lifted = LiftedModel.from_matrices([[0.9]], [[1.0]], dt=0.1)
    mpc = LinearMPC(lifted, 5, 1.0, 1.0)
    assert mpc.terminal == "riccati"
    assert mpc.trial is None


def test_the_trial_leaves_the_controller_fresh_and_is_repeatable(good):
    a, b = LinearMPC(good, 15, **SIZE), LinearMPC(good, 15, **SIZE)
    assert a.trial == b.trial
    assert a.info is None
    np.testing.assert_array_equal(a.control([1.0, 0.0]), b.control([1.0, 0.0]))


def test_retuned_it_keeps_its_weight_and_saved_it_decides_alike(good, tmp_path):
    mpc = LinearMPC(good, 15, **SIZE)
    other = mpc.with_(R=0.2)
    assert other.terminal == mpc.terminal
    mpc.save(tmp_path / "mpc.npz")
    read = load(tmp_path / "mpc.npz")
    assert read.terminal == mpc.terminal
    for x in ([1.0, 0.0], [0.5, -0.5]):
        np.testing.assert_array_equal(read.control(x), mpc.control(x))


# --- the trial itself ------------------------------------------------------------------------------------


def test_an_episode_costs_what_its_signals_say(good, network):
    mpc = LinearMPC(good, 10, R_rate=0.3, **SIZE)
    episodes = make_episodes(
        network.network_, network.snapshots_, (good.x_op, good.u_op), mpc.problem, np.array([0]), 4
    )
    assert len(episodes) == 4
    for e in episodes:
        found = run(law_sender(mpc.law, e.r), mpc.law, network.network_, e, 12)
        error, moved = found.outputs[1:] - e.r, found.inputs - e.u_r
        moves = np.diff(found.inputs, axis=0)
        expected = np.sum(error**2) + 0.1 * np.sum(moved**2) + 0.3 * np.sum(moves**2)
        assert found.cost == pytest.approx(expected)
        # The outputs are the network's own roll-out under the inputs that were sent.
        rolled, _ = network.network_.rollout(e.start[None], found.inputs[None])
        np.testing.assert_allclose(found.outputs, rolled[0], atol=1e-9)


def test_a_loop_that_runs_away_ends_and_counts(good, network):
    mpc = LinearMPC(good, 10, **SIZE)
    episode = make_episodes(
        network.network_, network.snapshots_, (good.x_op, good.u_op), mpc.problem, np.array([0]), 1
    )[0]
    far = replace(episode, start=episode.start + 5 * (episode.y_high - episode.y_low))
    found = run(law_sender(mpc.law, episode.r), mpc.law, network.network_, far, 12)
    assert found.lost
    assert np.isfinite(found.cost)
    assert found.cost > 10 * AWAY**2


def test_relative_costs_are_geometric_means():
    found = relative([[1.0, 2.0, 4.0], [2.0, 4.0, 4.0]])
    assert found[0] == pytest.approx(1.0)
    assert found[1] == pytest.approx(4.0 ** (1 / 3), rel=2e-3)


def outcome(cost, lost=False):
    return Outcome(cost, lost, 0.0, ("optimal",), (0.0,), np.zeros((2, 2)), np.zeros((1, 1)))


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_what_is_lost_is_counted_and_the_rest_costs(unit):
    own = [outcome(c * unit, lost) for c, lost in ((4.0, False), (1.0, False), (1e9, True), (5.0, False))]
    other = [outcome(c * unit, lost) for c, lost in ((1.0, False), (1.0, False), (1.0, False), (1e9, True))]
    found = beside(own, other)
    assert found.lost == 0
    assert found.n == 4
    # Two episodes that neither lost: 4 and 1 times as dear, a twentieth of the typical cost being petty.
    assert found.ratio == pytest.approx((4.05 / 1.05) ** 0.5)
    assert not found.loses
    assert not found.costs
    worse = beside([*own, *own[2:3]], [*other, outcome(unit)])
    assert worse.lost == 1
    assert worse.loses  # one of five
    assert not beside(own[2:3] + 9 * own[1:2], 10 * other[:1]).loses  # one of ten
    # An episode that hardly costs anything decides nothing, and none that both lost is compared.
    assert beside([outcome(unit), outcome(1e-3 * unit)], [outcome(unit), outcome(1e-9 * unit)]).ratio < 1.03
    assert np.isnan(beside(own[2:3], own[2:3]).ratio)


def losing(monkeypatch, where, design, first, rest):
    """Loops with outcomes that are told: a law that is the `design` loses `first`, then `rest` in turn."""
    episodes = []

    def told(send, law, network, episode, n_steps, *_):
        mine = design(send, law)
        episodes.append(mine)
        k = sum(episodes) - 1
        pattern = first if k < len(first) else rest
        return outcome(1.0, mine and pattern[k % len(pattern)])

    monkeypatch.setattr(where, "run", told)
    return episodes


@pytest.mark.parametrize(("rest", "ok"), [([False], True), ([False, True], False)])
def test_where_one_episode_would_decide_more_are_run(good, network, monkeypatch, rest, ok):
    mpc = LinearMPC(good, 10, check=False, **SIZE)
    order = []

    def own(send, law):
        order.append(send)
        return len(order) <= 3 or 9 < len(order) <= 21  # the design first, three rivals of three, then twelve

    ran = losing(monkeypatch, verify, own, [True, False, False], rest)
    report = verify_design(mpc, network, n_starts=3)
    assert len(ran) == 9 + 2 * 12
    assert report.ok == ok, report
    assert report.n_episodes == 3
    if not ok:
        assert "of 15 episodes more" in report.reasons[0]


@pytest.mark.parametrize(("rest", "doubtful"), [([False], False), ([True, False], True)])
def test_a_trial_that_speaks_against_a_lift_is_heard_out(good, monkeypatch, rest, doubtful):
    lifted = replace(good)
    plain = {"n": 0}

    def own(send, law):
        mine = law.lifted.n_z > law.lifted.n_x
        plain["n"] += not mine
        return mine

    first = [True, False, False, False, False, False]
    losing(monkeypatch, terminal, own, first, rest)
    assert good.n_z > good.n_x
    if doubtful:
        with pytest.warns(DesignWarning, match="of 18 episodes more than least squares"):
            mpc = LinearMPC(lifted, 10, terminal="none", **SIZE)
    else:
        mpc = LinearMPC(lifted, 10, terminal="none", **SIZE)
    assert mpc.trial.beside_linear.n == 18
    assert plain["n"] == 18
    assert mpc.trial.doubtful == doubtful


# --- verify_design ---------------------------------------------------------------------------------------


def test_a_good_design_may_leave(good, network):
    mpc = LinearMPC(good, 15, **SIZE)
    mpc.control([1.0, 0.0])
    before = mpc.state
    report = verify_design(mpc, network, n_starts=5)
    assert mpc.state is before
    assert report.ok, report
    assert report.n_episodes == 5
    names = [r.name for r in report.rows]
    assert names == ["this design", "RNNMPC on the network", "LinearMPC on least squares"]
    assert min(r.cost for r in report.rows) >= 1.0
    assert "nothing speaks against it" in str(report)


def test_a_bad_design_may_not_and_the_figure_shows_it(spoilt, network, tmp_path):
    mpc = LinearMPC(spoilt, 15, check=False, **SIZE)
    report = verify_design(mpc, network, n_starts=5)
    assert not report.ok
    assert any("costs" in reason or "loses" in reason for reason in report.reasons)
    figure = report.plot()
    figure.savefig(tmp_path / "design.png")
    assert "against the design" in figure.get_suptitle()


def test_references_disturbances_and_several_networks(good, network, van_der_pol_data):
    second = KoopmanRNN(40, random_state=1).fit(van_der_pol_data)
    mpc = LinearMPC(good, 10, **SIZE)
    ramp = np.column_stack([np.linspace(0, 1, 31), np.zeros(31)])
    report = verify_design(
        mpc, [network, second], references=[[0.5, 0.0], ramp], disturbances=[[0.2], [-0.2]], n_starts=2
    )
    assert report.n_episodes == 4
    assert [e.load[0] for e in report.episodes] == [0.2, -0.2, 0.2, -0.2]
    assert len(report.outcomes["this design"][1].inputs) == 30
    placed = verify_design(mpc, network, starts=[[2.0, 1.0], [-1.0, 0.5], [0.0, 0.0]])
    assert [e.start.tolist() for e in placed.episodes] == [[2.0, 1.0], [-1.0, 0.5], [0.0, 0.0]]
    rnn = verify_design(RNNMPC(network, 10, **SIZE), network, n_starts=2)
    assert [r.name for r in rnn.rows] == ["this design", "LinearMPC on least squares"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"controller": "mpc"}, OptionError, "controller is a str"),
        ({"model": 3.0}, OptionError, "model is a float"),
        ({"model": [None]}, OptionError, "model is a NoneType"),
        ({"n_starts": 0}, OptionError, "n_starts"),
        ({"references": [[1.0, 2.0, 3.0]]}, ShapeError, "references"),
        ({"disturbances": [[1.0, 2.0]]}, ShapeError, "disturbances"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(good, network, arguments, error, message):
    given = {"controller": LinearMPC(good, 5, **SIZE), "model": network} | arguments
    with pytest.raises(error, match=message):
        verify_design(given.pop("controller"), given.pop("model"), **given)
