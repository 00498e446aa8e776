"""Paths of all kinds handed to what reads or writes files: the package's own error, naming the argument."""

from pathlib import Path

import plants
import pytest

from koopctrl import LQR, KoopmanRNN, LiftedModel, LinearMPC, LTINetwork, Trajectories, load
from koopctrl.errors import OptionError
from koopctrl.export.structured_text import to_structured_text

A, B, DT = plants.oscillator()
DATA = plants.record(plants.linear_step(A, B), 2, 1, DT, n_episodes=2, n_steps=20)
LIFTED = LiftedModel.from_matrices([[0.9]], [[1.0]], dt=1.0)
NETWORK = LTINetwork.from_statespace((A - 0.5 * DT * B @ B.T, B, A[:1], 0 * A[:1, :1], DT), dt=DT)
MPC = LinearMPC(LIFTED, horizon=3, Q=[1.0], R=[1.0])
FILES = {
    "load": load,
    "records, load": Trajectories.load,
    "records, save": DATA.save,
    "from_csv": lambda path: Trajectories.from_csv(path, outputs=["y"], dt=1.0),
    "KoopmanRNN.save": KoopmanRNN(2, random_state=0).fit(DATA).save,
    "LiftedModel.save": LIFTED.save,
    "LTINetwork.save": NETWORK.save,
    "LinearMPC.save": MPC.save,
    "to_fmu": LIFTED.to_fmu,
    "structured text": lambda path: to_structured_text(LQR(LIFTED, Q=[1.0], R=[1.0]), path, "law"),
}
FOLDERS = {"LiftedModel.to_c": LIFTED.to_c, "LTINetwork.to_c": NETWORK.to_c, "LinearMPC.to_c": MPC.to_c}


@pytest.mark.parametrize("wrong", [None, 3.5, b"a.npz", "a\0.npz", {"a": 1}], ids=repr)
@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_what_is_no_path_is_refused(name, wrong):
    with pytest.raises(OptionError, match=r"path is|folder is"):
        {**FILES, **FOLDERS}[name](wrong)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_is_no_file(tmp_path, monkeypatch, name, kind):
    monkeypatch.chdir(tmp_path)
    for folder in (kind("."), kind(tmp_path)):
        with pytest.raises(OptionError, match="a folder; expected the path of"):
            FILES[name](folder)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_is_no_folder(tmp_path, name):
    file = tmp_path / "file"
    file.write_text("here")
    for wrong in (file, file / "under"):
        with pytest.raises(OptionError, match=r"folder is .*, which is a file or lies under one"):
            FOLDERS[name](wrong)
    assert file.read_text() == "here"
