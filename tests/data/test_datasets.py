"""The records that ship with the package are whole, and models of them are as good as they should be."""

from importlib import resources

import numpy as np
import pytest

from koopctrl import KoopmanRNN, datasets


@pytest.mark.parametrize(
    ("name", "n_samples", "dt", "first", "last"),
    [
        ("hair_dryer", 1000, 0.08, (6.41, 4.766099), (6.41, 4.683079)),
        ("robot_arm", 1024, 1.0, (0.22183165, -0.1770363), (0.29035137, -0.1671642)),
    ],
)
def test_records_are_whole(name, n_samples, dt, first, last):
    data = getattr(datasets, name)()
    assert len(data) == 1
    assert (data.dt, data.output_names, data.input_names) == (dt, ("y",), ("u",))
    e = data[0]
    assert e.outputs.shape == e.inputs.shape == (n_samples, 1)
    for k, expected in ((0, first), (-1, last)):
        np.testing.assert_array_equal([e.inputs[k, 0], e.outputs[k, 0]], expected)
    assert name in datasets.__all__


def test_the_licence_notice_ships_with_them():
    text = (resources.files("koopctrl.data.datasets") / "LICENSE").read_text()
    assert "SLICOT" in text


def test_a_linear_model_of_the_hair_dryer_runs_free_as_the_textbook_says():
    train, test = datasets.hair_dryer().split(0.5, by="time")
    model = KoopmanRNN(0, output_lags=4, input_lags=5, input_coupling="linear").fit(train)
    (run,) = model.predict(test, n_init=20)
    error = (run - test[0].outputs)[20:]
    assert np.sqrt(np.mean(error**2)) < 0.13  # a spread of 0.8
