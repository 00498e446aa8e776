"""Names that python-control forbids are rewritten once, visibly, and the mapping is kept."""

import copy
import warnings

import control
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koopctrl import LQR, KoopmanRNN, LinearMPC, LTINetwork, Trajectories
from koopctrl.errors import KoopctrlWarning, OptionError
from koopctrl.export.names import without_dots
from koopctrl.export.pycontrol import lifted_to_statespace


def record(outputs, inputs):
    rng = np.random.default_rng(0)
    u = rng.uniform(-1, 1, (200, len(inputs)))
    x = np.zeros((200, len(outputs)))
    for k in range(199):
        x[k + 1] = 0.5 * x[k] + u[k, :1]
    return Trajectories.from_arrays(x, u, dt=0.1, state_names=outputs, input_names=inputs)


def model(outputs, inputs):
    return KoopmanRNN(5, random_state=0).fit(record(outputs, inputs))


@given(st.lists(st.text("ab._", max_size=5), min_size=1, max_size=8, unique=True))
def test_new_names_are_distinct_have_no_dots_and_leave_the_others_alone(names):
    mapping = without_dots(names)
    assert list(mapping) == names
    assert len(set(mapping.values())) == len(names)
    assert not any("." in new for new in mapping.values())
    assert all(mapping[name] == name for name in names if "." not in name)


@pytest.mark.parametrize(
    ("outputs", "inputs", "new_outputs", "new_inputs"),
    [
        (["tank1.level"], ["pump.V"], ["tank1_level"], ["pump_V"]),
        (["a.b", "a_b"], ["u"], ["a_b_2", "a_b"], ["u"]),
        (["a.b.c"], ["..u"], ["a_b_c"], ["__u"]),
        (["a.b", "a_b", "a_b_2"], ["u"], ["a_b_3", "a_b", "a_b_2"], ["u"]),
    ],
)
def test_models_with_dotted_names_go_to_python_control(outputs, inputs, new_outputs, new_inputs):
    fitted = model(outputs, inputs)
    lifted = fitted.lift_at(np.zeros(len(outputs)), np.zeros(len(inputs)))
    for make in (lifted.to_statespace, fitted.to_nlsys):
        with pytest.warns(KoopctrlWarning, match="forbids dots") as caught:
            system = make()
        assert caught[0].filename == __file__
        assert (system.output_labels, system.input_labels) == (new_outputs, new_inputs)
        pairs = zip([*outputs, *inputs], [*new_outputs, *new_inputs], strict=True)
        assert system.renamed == {old: new for old, new in pairs if old != new}
        assert copy.deepcopy(system).renamed == system.renamed
    # The model itself keeps its names.
    assert list(lifted.output_names) == outputs


def test_controllers_and_networks_with_dotted_names_too():
    lifted = model(["tank1.level"], ["pump.V"]).lift_at([0.0], [0.0])
    for controller in (LQR(lifted, 1.0, 1.0), LinearMPC(lifted, 5, 1.0, 1.0)):
        with pytest.warns(KoopctrlWarning, match="'r_tank1.level' is 'r_tank1_level'"):
            block = controller.to_nlsys()
        assert block.output_labels == ["pump_V"]
        assert "tank1_level" in block.input_labels  # as in the model's own system: interconnect finds it
    matrices = {"A": [[-1.0]], "B": [[1.0]], "C": [[1.0]], "D": 0, "dt": 0}
    labels = {"input_labels": ["p.V"], "output_labels": ["t.h"], "state_labels": ["x"]}
    named = type("Named", (), {**matrices, **labels})()
    with pytest.warns(KoopctrlWarning, match="'p.V' is 'p_V'"):
        system = LTINetwork.from_statespace(named).to_statespace()
    assert (system.input_labels, system.output_labels) == (["p_V"], ["t_h"])


def test_other_names_pass_without_a_word():
    lifted = model(["Level [cm]", "y[/m]"], ["u, V"]).lift_at([0.0, 0.0], [0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        system = lifted.to_statespace()
    assert isinstance(system, control.StateSpace)
    assert system.renamed == {}
    assert system.output_labels == ["Level [cm]", "y[/m]"]
    for name in ("a.b", 3, None):
        with pytest.raises(OptionError, match="name is"):
            lifted_to_statespace(lifted, name)
