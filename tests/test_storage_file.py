"""The file format: every kind comes back, and neither damage nor forgery is anything but a DataError."""

import io
import zipfile

import control
import forged
import numpy as np
import plants
import pytest

from koopctrl import (
    LQR,
    KoopmanEnsemble,
    KoopmanRNN,
    LinearMPC,
    LTINetwork,
    Trajectories,
    load,
    run_closed_loop,
)
from koopctrl.controllers import ClosedLoopResult
from koopctrl.errors import DataError, OptionError

A, B, DT = plants.oscillator()
DATA = plants.record(plants.linear_step(A, B), 2, 1, DT, n_episodes=4, n_steps=20, last_input=True)


def network():
    rng = np.random.default_rng(0)
    return LTINetwork.from_statespace(
        (rng.normal(size=(5, 5)), rng.normal(size=(5, 2)), rng.normal(size=(1, 5)), np.ones((1, 2)))
    )


def model():
    return KoopmanRNN(6, random_state=0, ridge=1e-8).fit(DATA)


def result():
    lifted = KoopmanRNN(0, input_coupling="linear").fit(DATA).lift_at(0, 0)
    controller = LQR(lifted, 1.0, 0.1, u_min=-1.0)
    return run_closed_loop(plants.linear_step(A, B), controller, 10, [np.nan, 0.0], x0=[1.0, 0.0])


KINDS = {
    "network": model,
    "hidden": lambda: KoopmanRNN(3, n_states=2, max_iter=3, random_state=0).fit(DATA),
    "ensemble": lambda: KoopmanEnsemble(KoopmanRNN(3), 2, random_state=0).fit(DATA),
    "lifted": lambda: model().lift_at(0, 0, method="edmd"),
    "mpc": lambda: LinearMPC(KoopmanRNN(0, input_coupling="linear").fit(DATA).lift_at(0, 0), 5, 1.0, 0.1),
    "records": lambda: DATA,
    "lti": network,
    "result": result,
}


@pytest.fixture(scope="module", params=list(KINDS))
def saved(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / request.param
    thing = KINDS[request.param]()
    thing.save(path)
    return thing, path


def test_load_gives_back_every_kind(saved):
    thing, path = saved
    assert type(load(path)) is type(thing)


@pytest.mark.parametrize("n", [100, pytest.param(500, marks=pytest.mark.slow)])
def test_flipped_bits_are_refused_or_harmless(saved, n, tmp_path):
    thing, path = saved
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    # Half of them among names, headers and the directory at the end, where bits are not just numbers.
    places = np.concatenate(
        [rng.integers(len(whole), size=n // 2), len(whole) - 1 - rng.integers(2_000, size=n // 2)]
    )
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "x").write_bytes(damaged)
        try:
            back = load(tmp_path / "x")
        except DataError:
            refused += 1
        else:
            assert type(back) is type(thing)
    assert refused > n // 2


def test_headers_of_arrays_with_flipped_bits_are_refused(tmp_path):
    """With a right checksum, as whoever forges a file writes it."""
    KINDS["network"]().save(tmp_path / "m")
    with zipfile.ZipFile(tmp_path / "m") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    rng = np.random.default_rng(1)
    for _ in range(300):
        name = list(members)[rng.integers(len(members))]
        damaged = bytearray(members[name])
        damaged[rng.integers(64)] ^= 1 << int(rng.integers(8))
        with zipfile.ZipFile(tmp_path / "x", "w") as archive:
            for other, content in members.items():
                archive.writestr(other, bytes(damaged) if other == name else content)
        with pytest.raises(DataError):
            load(tmp_path / "x")


def rezipped(path, change):
    """The members of a file, changed, zipped anew."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        change(archive, members)


def zeros(n):
    out = io.BytesIO()
    np.save(out, np.zeros(n))
    return out.getvalue()


@pytest.mark.parametrize("kind", ["network", "records", "lti"])
def test_bombs_are_refused_before_they_are_unpacked(kind, tmp_path, monkeypatch):
    path = tmp_path / "bomb"
    KINDS[kind]().save(path)
    large = zeros(2**17)

    def packed(archive, members):
        for name, content in {**members, "extra.npy": large}.items():
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)

    def extra(archive, members):
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("extra.npy", large, zipfile.ZIP_DEFLATED)

    def listed_twice(archive, members):
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("extra.npy", large)
        for i in range(50):  # the same bytes under many names: only the directory grows
            info = zipfile.ZipInfo(f"copy{i}.npy")
            for slot in ("CRC", "compress_size", "file_size", "header_offset", "compress_type"):
                setattr(info, slot, getattr(archive.getinfo("extra.npy"), slot))
            archive.filelist.append(info)

    read, original = [], zipfile.ZipFile.read
    monkeypatch.setattr(
        zipfile.ZipFile, "read", lambda z, i, *a: read.append(i.file_size) or original(z, i, *a)
    )
    for change in (packed, extra, listed_twice):
        with monkeypatch.context() as undone:
            undone.setattr(zipfile.ZipFile, "read", original)
            rezipped(path, change)
        read.clear()
        with pytest.raises(DataError, match=r"bomb cannot be read"):
            load(path)
        assert sum(read) < 2**16  # the header at most
        KINDS[kind]().save(path)


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        ("float64", [2**40]), ("float64", [2**62, 4]), ("float64", [-1]), ("float64", [True]), ("float64", 3),
        ("float64", [1.0]), ("object", [1]), ("<U5", [1]), ("float64", [1] * 40), (None, None), ([], []),
    ],
)  # fmt: skip
def test_what_a_header_says_of_an_array_is_checked(array, shape, tmp_path):
    KINDS["network"]().save(tmp_path / "m")
    header, arrays = forged.parts_of(tmp_path / "m")
    header["arrays"]["weights"] = [array, shape]
    forged.forge(tmp_path / "m", header, arrays, listed=False)
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path / "m")


@pytest.mark.parametrize("name", ["blocks", "B", "T", "input_names", "defects", "merges"])
@pytest.mark.parametrize("value", [None, 3, {"tuple": []}, {"array": "nowhere"}, {"Trap": {}}, {"dict": []}])
def test_lti_networks_that_contradict_themselves_are_refused(name, value, tmp_path):
    network().save(tmp_path / "n")
    header, arrays = forged.parts_of(tmp_path / "n")
    header["fields"][name] = value
    forged.forge(tmp_path / "n", header, arrays)
    if name == "merges" and value == {"tuple": []}:
        return  # as most networks have it
    with pytest.raises(DataError):
        load(tmp_path / "n")


@pytest.mark.parametrize("path", [None, 3.5, 1, True, ["a"], b"a", "a\0b"])
def test_what_is_no_path_is_refused_by_name(path):
    for thing in (model(), network(), DATA, result()):
        with pytest.raises(OptionError, match="path is"):
            thing.save(path)
    with pytest.raises(OptionError, match="path is"):
        load(path)


def test_an_lti_network_from_a_file_answers_as_the_saved_one(tmp_path):
    for name, sys in {
        "continuous": network().to_statespace(),
        "discrete": control.ss([[0.9, 0.1], [0.0, 0.5]], [[0.0], [1.0]], [[1.0, 0.0]], [[0.0]], 0.1),
    }.items():
        net = LTINetwork.from_statespace(sys)
        net.save(tmp_path / name)
        back = load(tmp_path / name)
        t = 0.1 * np.arange(20)
        u = np.sin(np.arange(20 * net.B.shape[1])).reshape(20, -1)
        np.testing.assert_array_equal(net.simulate(t, u).outputs, back.simulate(t, u).outputs)
        np.testing.assert_array_equal(net.error_bound().total, back.error_bound().total)
        assert (back.input_names, back.sample_time, back.merges) == (
            net.input_names,
            net.sample_time,
            net.merges,
        )


def test_a_closed_loop_result_from_a_file_and_as_a_table(tmp_path):
    run = result()
    run.save(tmp_path / "r")
    back = load(tmp_path / "r")
    assert isinstance(back, ClosedLoopResult)
    np.testing.assert_equal(vars(back), vars(run))
    assert back.cost == run.cost
    table = run.to_dataframe()
    assert list(table.columns) == [
        "time", "x0", "x1", "x0_ref", "x1_ref", "u0", "reward", "status", "solve_time",
    ]  # fmt: skip
    np.testing.assert_array_equal(table[["x0", "x1"]], run.outputs)
    np.testing.assert_array_equal(table["u0"], [*run.inputs[:, 0], np.nan])
    again = Trajectories.from_dataframe(table, outputs=["x0", "x1"], inputs=["u0"], time="time")
    np.testing.assert_array_equal(again[0].inputs, run.inputs)


def test_numpy_reads_the_arrays_of_a_file(tmp_path):
    fitted = model()
    fitted.save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as archive:
        np.testing.assert_array_equal(archive["coef"], fitted.network_.coef)
