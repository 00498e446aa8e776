"""Structured text: of the grammar (tree-sitter), and, carried out line by line, equal to the package's."""

import re

import numpy as np
import pytest

from koopctrl import LQR, KalmanFilter, KoopmanRNN, LiftedModel, LTINetwork, Trajectories
from koopctrl.errors import OptionError
from koopctrl.export.structured_text import to_structured_text

A = np.array([[0.9, 0.3, 0.0], [-0.2, 0.8, 0.1], [0.0, 0.1, 0.6]])
B = np.array([[0.2, 0.0], [0.5, 0.1], [0.0, 1.0]])
C = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


class Carried:
    """A function block as Python: each statement has one counterpart."""

    def __init__(self, text: str) -> None:
        self.vars: dict = {
            "EXP": np.exp,
            "ABS": np.abs,
            "MAX": max,
            "LIMIT": lambda a, x, b: min(max(x, a), b),
        }
        body = text[text.rindex("END_VAR") + 7 : text.index("END_FUNCTION_BLOCK")]
        for name, kind, value in re.findall(r"^ {4}(\w+) : ([^;:]+?)(?: := ([^;]+))?;", text, re.M):
            size = re.match(r"ARRAY\[0\.\.(\d+)\]", kind)
            if size:
                numbers = eval(value) if value else [0.0] * (int(size[1]) + 1)
                assert len(numbers) == int(size[1]) + 1, name
                self.vars[name] = list(map(float, numbers))
            else:
                self.vars[name] = {"TRUE": True, "FALSE": False, "": 0}.get(value, value)
                if isinstance(self.vars[name], str):
                    self.vars[name] = float(value)
        self.code, depth = [], 0
        for line in filter(None, map(str.strip, body.splitlines())):
            if line in ("END_FOR;", "END_IF;"):
                depth -= 1
                continue
            self.code.append("    " * depth + self._statement(line))
            depth += line.startswith(("FOR ", "IF "))
        self.program = compile("\n".join(self.code), "block", "exec")

    @staticmethod
    def _statement(line: str) -> str:
        loop = re.fullmatch(r"FOR (\w) := (\d+) TO (-?\d+) DO", line)
        if loop:
            return f"for {loop[1]} in range({loop[2]}, {loop[3]} + 1):"
        line = (
            re.sub(r"\bNOT\b", "not", line)
            .replace(" OR ", " or ")
            .replace("TRUE", "True")
            .replace("FALSE", "False")
        )
        if line.startswith("IF "):
            return f"if {line[3:].removesuffix(' THEN')}:"
        if line == "z := z_next;":
            return "z[:] = z_next"
        return line.replace(":=", "=").rstrip(";")

    def __call__(self, **inputs):
        self.vars.update(inputs)
        exec(self.program, self.vars)
        return self.vars


def parsed(path):
    """Accepted by an independent parser of the language."""
    tree_sitter = pytest.importorskip("tree_sitter", reason="tree-sitter is not installed; koopctrl[deploy]")
    grammar = pytest.importorskip(
        "tree_sitter_iec61131_3_st", reason="no grammar of structured text is installed"
    )
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    text = path.read_text()
    assert not parser.parse(text.encode()).root_node.has_error
    assert parser.parse(text.replace("END_FOR;", "END_FR;", 1).encode()).root_node.has_error


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(0)
    u, x = rng.uniform(-1, 1, (10, 60, 1)), np.zeros((10, 61, 2))
    a, b = np.array([[0.9, 0.3], [-0.3, 0.8]]), np.array([[0.1], [0.5]])
    for k in range(60):
        x[:, k + 1] = np.tanh(x[:, k] @ a.T + u[:, k] @ b.T)
    return KoopmanRNN(12, random_state=0).fit(Trajectories.from_arrays(20.0 + 3.0 * x, u, dt=0.1))


@pytest.mark.parametrize("kind", ["plain", "feedthrough", "lifted"])
def test_models(kind, network, tmp_path):
    lifted = network.lift_at(rank_tol=1e-4) if kind == "lifted" else LiftedModel.from_matrices(
        A, B, C, 0.1 * np.eye(2) if kind == "feedthrough" else None, dt=0.1, output_names=["Level in m", "y"],
        input_names=["pump.1", "valve"],
    )  # fmt: skip
    made = to_structured_text(lifted, tmp_path / "model.st", "Plant")
    if kind != "lifted":
        assert made.outputs == {"Level in m": "Level_in_m", "y": "y_2"}
        assert made.inputs["pump.1"] == "pump_1"
    block, rng = Carried(made.path.read_text()), np.random.default_rng(1)
    x0 = lifted.x_op + lifted.observables.x_scale * rng.normal(size=lifted.n_x)
    names = list(made.inputs.values())
    given = dict(zip(names[lifted.n_u :], x0, strict=True))
    z = lifted.lift(x0)
    for k in range(60):
        u = rng.uniform(-1, 1, lifted.n_u)
        if k == 40:
            z = lifted.lift(x0)
        found = block(init=k == 40, **given, **dict(zip(names, u, strict=False)))
        expected = lifted.output(z, u)
        np.testing.assert_allclose(
            [found[n] for n in made.outputs.values()], expected, rtol=1e-10, atol=1e-10
        )
        z = lifted.step(z, u)
    parsed(made.path)


@pytest.mark.parametrize("kind", ["plain", "lifted"])
def test_regulators(kind, network, tmp_path):
    lifted = (
        network.lift_at(rank_tol=1e-4) if kind == "lifted" else LiftedModel.from_matrices(A, B, C, dt=0.1)
    )
    lqr = LQR(lifted, 1.0, 0.3, u_min=-0.5, u_max=0.6)
    made = to_structured_text(lqr, tmp_path / "lqr.st", "Regulator")
    block, rng = Carried(made.path.read_text()), np.random.default_rng(1)
    names, n = list(made.inputs.values()), lqr.n_measured
    compared = saturated = held = 0
    for k in range(200):
        x = lifted.x_op + 0.5 * lifted.observables.x_scale * rng.normal(size=n)
        r = lifted.y_op + 0.1 * rng.normal(size=lifted.n_y) if k % 3 else lifted.y_op
        if k % 20 == 7:
            x[0] = np.nan
        found = block(**dict(zip(names, [*x, *r], strict=True)))
        u = lqr.control(x, r)
        sent = np.array([found[m] for m in made.outputs.values()])
        assert ((sent >= -0.5) & (sent <= 0.6)).all()
        steady = lqr.law.target(r)[1]
        assert found["reachable"] == ((steady >= -0.5) & (steady <= 0.6)).all()
        if not found["reachable"]:
            lqr.applied(sent)
            continue
        np.testing.assert_allclose(sent, u, atol=1e-9)
        compared += 1
        held += found["held"]
        saturated += lqr.info.status == "saturated"
    assert compared > 60
    assert saturated > 5
    assert held > 2
    parsed(made.path)


def test_what_cannot_be_is_named(network, tmp_path):
    lifted = LiftedModel.from_matrices(A, B, C, dt=0.1)
    filtered = LQR(lifted, 1.0, 1.0, estimator=KalmanFilter(lifted, 1.0, 1.0))
    bilinear = network.lift_at(bilinear=True)
    import control

    net = LTINetwork.from_statespace(control.ss(-np.eye(2), np.eye(2), np.eye(2), 0))
    for given, message in (
        (filtered, "has an estimator"), (bilinear, "bilinear"), (net, "has no structured text"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=message):
            to_structured_text(given, tmp_path / "x.st")
    for name in ("IF", "two words", "1st", 3):
        with pytest.raises(OptionError, match="name is"):
            to_structured_text(lifted, tmp_path / "x.st", name)
    with pytest.raises(OptionError, match="path is"):
        to_structured_text(lifted, None)
