"""Save and load: the same bits back, and every wrong or damaged file refused without running anything."""

import json
import pickle
import zipfile

import forged
import numpy as np
import plants
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koopctrl import KoopmanRNN, LiftedModel, Trajectories, load
from koopctrl.errors import DataError, NotFittedError, OptionError
from koopctrl.network.coupling import COUPLINGS
from koopctrl.network.samplers import SAMPLERS
from koopctrl.storage import save

A, B, DT = plants.oscillator()
NAME = r"model\.npz"
DATA = plants.record(plants.linear_step(A, B), 2, 1, DT, n_episodes=4, n_steps=20, last_input=True)
AUTONOMOUS = plants.record(plants.koopman_polynomial(), 2, 0, 0.1, n_episodes=4)


def fitted(data=DATA, **options) -> KoopmanRNN:
    return KoopmanRNN(**{"n_features": 6, "random_state": 0, "rcond": 1e-8, **options}).fit(data)


def same(a, b) -> None:
    """The same arrays, numbers and names, through and through."""
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, (tuple, list)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif hasattr(a, "__dict__"):
        assert set(vars(a)) == set(vars(b))
        for name, value in vars(a).items():
            same(value, vars(b)[name])
    else:
        assert a == b


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.npz"


@pytest.mark.filterwarnings("ignore::koopctrl.errors.RolloutWarning")
@settings(max_examples=25)
@given(
    st.sampled_from(COUPLINGS), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.sampled_from([0, 6]),
    st.sampled_from(sorted(SAMPLERS)), st.sampled_from(["tanh", "relu"]), st.sampled_from(["svd", "gram"]),
)  # fmt: skip
def test_a_loaded_network_is_the_saved_one(tmp_path_factory, coupling, p, q, direct, n, sampler, act, solver):
    path = tmp_path_factory.mktemp("model") / "model.npz"
    model = fitted(
        input_coupling=coupling, output_lags=p, input_lags=q, feedthrough=direct, n_features=n,
        sampler=sampler, activation=act, solver=solver,
    )  # fmt: skip
    model.save(path)
    back = load(path)
    same(model, back)
    for a, b in zip(model.predict(DATA), back.predict(DATA), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(*(m.lift_at(0, 0, method="edmd").A for m in (model, back)))


@pytest.mark.parametrize("bilinear", [False, True])
@pytest.mark.parametrize("n_features", [0, 6])
def test_a_loaded_linear_face_is_the_saved_one(path, bilinear, n_features):
    lifted = fitted(n_features=n_features).lift_at(x_op=0.1, u_op=0.2, bilinear=bilinear)
    save(lifted, path)
    same(lifted, load(path))
    save(lifted.without_training(), path)
    same(lifted.without_training(), load(path))


@pytest.mark.parametrize("n_u", [0, 1])
def test_wrapped_matrices_can_be_saved(path, n_u):
    c, d = np.ones((3, 2)), np.ones((3, n_u))
    lifted = LiftedModel.from_matrices(A, np.ones((2, n_u)), c, d, dt=DT, output_names=["a", "b", "ü"])
    save(lifted, path)
    same(lifted, load(path))


def test_an_autonomous_network_can_be_saved(path):
    model = fitted(AUTONOMOUS)
    model.save(path)
    same(model, load(path))


def test_settings_of_numpy_types_and_generators(path):
    model = fitted(n_features=np.int64(6), rcond=np.float64(1e-8), feedthrough=np.bool_(False))
    model.save(path)
    np.testing.assert_array_equal(model.predict(DATA)[0], load(path).predict(DATA)[0])
    model = fitted(random_state=np.random.default_rng(0))
    model.save(path)
    back = load(path)
    assert back.random_state is None
    np.testing.assert_array_equal(model.predict(DATA)[0], back.predict(DATA)[0])


def test_the_file_is_named_as_asked_and_replaced(tmp_path):
    for name in ("model", "model.v2", "model.npz"):
        fitted().save(tmp_path / name)
        assert (tmp_path / name).is_file()
    assert len(list(tmp_path.iterdir())) == 3
    other = fitted(n_features=2)
    other.save(str(tmp_path / "model"))
    same(other, load(str(tmp_path / "model")))


def test_saving_does_not_change_the_model(path):
    model = fitted()
    before = pickle.dumps(model)
    model.save(path)
    assert pickle.dumps(model) == before


def test_what_cannot_be_saved_or_found(tmp_path, path):
    with pytest.raises(NotFittedError):
        KoopmanRNN().save(path)
    assert not path.exists()
    with pytest.raises(DataError, match="model is a dict"):
        save({}, path)  # type: ignore[arg-type]
    for missing in (path, tmp_path / "none" / "model.npz"):
        with pytest.raises(FileNotFoundError):
            load(missing)
    for act in (load, fitted().save, Trajectories.load):
        with pytest.raises(OptionError, match="a folder; expected the path of a file"):
            act(tmp_path)


# --- wrong and damaged files -----------------------------------------------------------------------------


class Bomb:
    """Says so if it is ever unpickled."""

    exploded = False

    def __reduce__(self):
        return (_explode, ())


def _explode():
    Bomb.exploded = True


def test_nothing_in_a_file_is_executed(path):
    lifted = fitted()
    lifted.save(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    bomb = np.array([Bomb()], dtype=object)
    for contents in ({**arrays, "weights": bomb}, {**arrays, "extra": bomb}, {**arrays, "header": bomb}):
        np.savez(path, **contents)
        with pytest.raises(DataError):
            load(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError):
        load(path)
    np.save(path.with_suffix(".npy"), bomb, allow_pickle=True)
    with pytest.raises(DataError):
        load(path.with_suffix(".npy"))
    assert not Bomb.exploded


@pytest.mark.parametrize("content", [b"", b"PK", b"y,u\n1,2\n", b"\x93NUMPY", bytes(range(256)) * 9])
def test_other_files_are_refused_with_their_name(path, content):
    path.write_bytes(content)
    with pytest.raises(DataError, match=NAME):
        load(path)


def test_other_archives_are_refused(path):
    np.save(path.with_suffix(".npy"), np.zeros(3))
    with pytest.raises(DataError, match="not a koopctrl model"):
        load(path.with_suffix(".npy"))
    for contents in (
        {},
        {"x": np.zeros(3)},
        {"header": np.zeros(3)},
        {"header": _header({"format": "other"})},
    ):
        np.savez(path, **contents)
        with pytest.raises(DataError, match=NAME):
            load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.txt", "hello")
    with pytest.raises(DataError, match=NAME):
        load(path)


def _header(value) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)


def rewritten(path, model, **changes) -> None:
    """Save with header entries or arrays changed; None takes one out."""
    save(model, path)
    header, arrays = forged.parts_of(path)
    for name, value in changes.items():
        target = arrays if name in arrays else header
        assert name in target
        if value is None:
            del target[name]
        else:
            target[name] = value
    forged.forge(path, header, arrays)


RNN = fitted()
LIFTED = RNN.lift_at(x_op=0, u_op=0)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99}, {"version": None}, {"kind": "LTINetwork"}, {"kind": None}, {"kind": ["KoopmanRNN"]},
        {"kind": "LQR"},
        {"dt": -1.0}, {"dt": None}, {"dt": "fast"}, {"output_names": ["a"]}, {"output_names": ["a", "a"]},
        {"input_names": 3}, {"coupling": "cubic"}, {"coupling": "quadratic"}, {"activation": "os.system"},
        {"window": {}}, {"window": None}, {"params": {"n_features": "many"}}, {"params": {"bogus": 1}},
        {"params": {"n_features": -1}}, {"params": None}, {"rank": "x"}, {"rank": None}, {"rank": -1},
        {"rank": 10**6},
        {"n_rows": None}, {"n_rows": 0},
        {"weights": None}, {"weights": np.zeros((6, 3))}, {"weights": np.full((6, 2), np.nan)},
        {"weights": np.zeros((6, 2), dtype=np.float32)}, {"weights": np.array([["a"] * 2] * 6)},
        {"biases": np.zeros(5)}, {"biases": np.zeros((6, 1))}, {"coef": np.zeros((3, 2))},
        {"y_scale": np.zeros(1)}, {"y_scale": np.zeros(2)}, {"u_scale": np.array([-1.0])},
        {"y_mean": np.array([np.inf, 0.0])},
        {"snapshots_u": np.zeros((3, 1))}, {"snapshots_x": np.zeros((80, 3))}, {"snapshots_y": None},
        {"singular_values": np.zeros((2, 2))}, {"residual_rms": np.zeros(3)}, {"y_min": np.zeros(3)},
    ],
)  # fmt: skip
def test_networks_that_contradict_themselves_are_refused(path, change):
    rewritten(path, RNN, **change)
    with pytest.raises(DataError, match=NAME):
        load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"A": np.zeros((2, 3))}, {"A": None}, {"A": np.full_like(LIFTED.A, np.nan)},
        {"A": np.eye(LIFTED.n_z + 1)},
        {"A": np.eye(1)}, {"B": np.zeros((LIFTED.n_z, 2))}, {"C": np.zeros((2, 1))}, {"D": np.zeros((1, 1))},
        {"c": np.zeros(1)}, {"u_op": np.zeros(2)}, {"x_op": np.zeros(3)}, {"reduce": np.zeros((6, 1))},
        {"project": np.zeros((1, 1))}, {"x_scale": np.zeros(2)}, {"training_u": np.zeros((3, 1))},
        {"dt": 0.0},
        {"activation": "step"},
        {"window": {"output_lags": 0, "input_lags": 1, "feedthrough": 0, "n_y": 2, "n_u": 1}},
    ],
)  # fmt: skip
def test_linear_faces_that_contradict_themselves_are_refused(path, change):
    rewritten(path, LIFTED, **change)
    with pytest.raises(DataError, match=NAME):
        load(path)


@settings(max_examples=150)
@given(st.data())
def test_damaged_bytes_are_refused_or_harmless(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "model.npz"
    RNN.save(path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    try:
        back = load(path)
    except DataError as error:
        said = str(error)
    else:
        said = ""
        np.testing.assert_array_equal(back.predict(DATA)[0], RNN.predict(DATA)[0])  # a byte nobody reads
    assert not said or "model.npz" in said
