"""Records in files: the same back, and no damage that is not a DataError."""

import io
import zipfile

import forged
import numpy as np
import pytest

from koopctrl import Trajectories, Trajectory
from koopctrl.errors import DataError, KoopctrlError, OptionError


def records():
    rng = np.random.default_rng(0)
    names = (["tank1.level", "Level [cm]"], ["pump, V"])
    return Trajectories(
        Trajectory(rng.normal(size=(n, 2)), rng.normal(size=(n - last, 1)), 0.1, *names, label)
        for n, last, label in ((7, 1, "a"), (3, 0, "é"), (1, 1, ""))
    )


def test_the_same_records_come_back(tmp_path):
    for name in ("data.npz", "data", "data.rec"):
        data, path = records(), tmp_path / name
        data.save(path)
        back = Trajectories.load(str(path))
        assert (back.dt, back.output_names, back.input_names) == (
            data.dt,
            data.output_names,
            data.input_names,
        )
        for e, f in zip(data, back, strict=True):
            assert e.label == f.label
            np.testing.assert_array_equal(e.outputs, f.outputs)
            np.testing.assert_array_equal(e.inputs, f.inputs)


def test_a_record_without_inputs_and_numbers_of_any_size(tmp_path):
    values = np.array([[0.0], [-0.0], [5e-324], [1.7e308], [-1.0]])
    Trajectories.from_arrays(values, dt=1e-9).save(tmp_path / "a")
    back = Trajectories.load(tmp_path / "a")
    assert back.n_u == 0
    assert back[0].outputs.tobytes() == values.tobytes()


def test_every_flipped_bit_is_refused_or_harmless(tmp_path):
    path = tmp_path / "data.npz"
    records().save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(500):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            back = Trajectories.load(path)
        except DataError:
            refused += 1
        else:  # bits of the zip's dates and the like
            np.testing.assert_array_equal(back[0].outputs, records()[0].outputs)
    assert refused > 300


@pytest.mark.parametrize("cut", [0, 1, 10, 100, 500, -1, -30])
def test_a_file_cut_short_is_refused(tmp_path, cut):
    path = tmp_path / "data.npz"
    records().save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError):
        Trajectories.load(path)


def rewritten(tmp_path, change=None, **arrays):
    """A file whose header, and arrays, were changed by hand."""
    path = tmp_path / "data.npz"
    records().save(path)
    header, parts = forged.parts_of(path)
    if change:
        change(header)
    forged.forge(path, header, parts | arrays)
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.update(format="other"),
        lambda h: h.update(kind="KoopmanRNN"),
        lambda h: h.update(version=1),
        lambda h: h.update(dt=-1.0),
        lambda h: h.update(dt=None),
        lambda h: h.pop("labels"),
        lambda h: h.update(labels=[]),
        lambda h: h.update(labels=3),
        lambda h: h.update(labels=["a", "b", "c", "d"]),
        lambda h: h.update(labels=[[1], "b", "c"]),
        lambda h: h.update(output_names=["a", "a"]),
        lambda h: h.update(output_names=[1, 2]),
        lambda h: h.update(input_names=None),
    ],
)
def test_headers_that_do_not_fit_are_refused(tmp_path, change):
    with pytest.raises(DataError, match="cannot be read"):
        Trajectories.load(rewritten(tmp_path, change))


def test_arrays_that_do_not_fit_are_refused(tmp_path):
    for arrays in (
        {"extra": np.zeros(3)},
        {"outputs0": np.zeros((7, 3))},
        {"outputs0": np.zeros((7, 2), dtype=np.int64)},
        {"outputs0": np.full((7, 2), np.nan)},
        {"inputs0": np.zeros((2, 1))},
    ):
        with pytest.raises(DataError, match="cannot be read"):
            Trajectories.load(rewritten(tmp_path, **arrays))
    objects = io.BytesIO()
    np.savez(objects, header=np.array([{"a": 1}], dtype=object))
    (tmp_path / "o.npz").write_bytes(objects.getvalue())
    with pytest.raises(DataError):
        Trajectories.load(tmp_path / "o.npz")


def test_a_compressed_array_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "bomb.npz"
    records().save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            kind = zipfile.ZIP_DEFLATED if name == "outputs0.npy" else zipfile.ZIP_STORED
            archive.writestr(name, content, kind)
    with pytest.raises(DataError, match="compressed"):
        Trajectories.load(path)


@pytest.mark.parametrize("path", [None, 3.5, 3, True, ["a"], b"a"])
def test_what_is_no_path_is_refused_by_name(path):
    with pytest.raises(OptionError, match="path is"):
        records().save(path)
    with pytest.raises(OptionError, match="path is"):
        Trajectories.load(path)


def test_a_text_file_and_a_missing_one(tmp_path):
    (tmp_path / "a.csv").write_text("t,y\n1,2\n")
    with pytest.raises(KoopctrlError):
        Trajectories.load(tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError):
        Trajectories.load(tmp_path / "none")
