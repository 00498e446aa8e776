"""Moving pictures of closed-loop results: what they show, how long, and what is refused."""

import importlib.util
import itertools
import os
import pickle
import shutil
import stat
import sys

import gymnasium
import numpy as np
import pytest
from PIL import Image

import koopctrl
from koopctrl import run_closed_loop
from koopctrl.errors import OptionError
from koopctrl.plotting import animate_closed_loop, animation
from koopctrl_envs.wrappers import MeasurementNoise

N = 6


class Hold:
    """A constant input."""

    def __init__(self, u):
        self.u = np.asarray(u, dtype=float)

    def reset(self):
        pass

    def control(self, measurement, reference=None):
        return self.u


def pendulum(wrapper=None):
    env = gymnasium.make("koopctrl_envs:koopctrl/Pendulum-v0")
    return run_closed_loop(env if wrapper is None else wrapper(env), Hold([2.0]), N, x0=[3.0, 0.0])


def frames(path):
    with Image.open(path) as picture:
        count = picture.n_frames
        pixels, times = [], []
        for k in range(count):
            picture.seek(k)
            pixels.append(np.asarray(picture.convert("RGB")).astype(int))
            times.append(picture.info["duration"])
    return np.array(pixels), times


def test_a_gif_shows_the_plant_at_every_sample_in_real_time(tmp_path):
    result = pendulum()
    assert result.animate(tmp_path / "a.gif") == tmp_path / "a.gif"
    pixels, times = frames(tmp_path / "a.gif")
    assert pixels.shape == (N + 1, 360, 640, 3)
    assert set(times) == {50}
    # The last picture is that of an env that was brought there.
    env = gymnasium.make("koopctrl_envs:koopctrl/Pendulum-v0", render_mode="rgb_array")
    env.reset(options={"x0": [3.0, 0.0]})
    for _ in range(N):
        env.step([2.0])
    truth = env.render().astype(int)
    last, first = (np.abs(p[40:, :310] - truth[40:, :310]).mean() for p in (pixels[-1], pixels[0]))
    assert last < 3.0
    assert first > 1.5 * last
    env.close()


def test_many_samples_are_thinned_out_and_the_pace_can_be_set(tmp_path):
    result = pendulum()
    result.animate(tmp_path / "a.gif", max_frames=4, fps=10)
    pixels, times = frames(tmp_path / "a.gif")
    assert len(pixels) == 4  # of 7, every second
    assert set(times) == {100}
    assert animation._pace(0.01, 101, 300) == (4, 25.0)
    assert animation._pace(0.05, 101, 300) == (1, 20.0)
    assert animation._pace(60.0, 101, 300) == (1, 20.0)
    assert animation._pace(0.05, 1001, 100) == (10, 20.0)


def test_noise_and_pickles_leave_the_picture_true(tmp_path):
    result = pickle.loads(pickle.dumps(pendulum(lambda e: MeasurementNoise(e, 0.5))))
    result.animate(tmp_path / "a.gif")
    pendulum().animate(tmp_path / "b.gif")
    noisy, plain = frames(tmp_path / "a.gif")[0], frames(tmp_path / "b.gif")[0]
    np.testing.assert_array_equal(noisy[:, 40:, :300], plain[:, 40:, :300])


def test_results_from_files_are_drawn_by_an_env_or_by_their_signals(tmp_path):
    result = pendulum()
    result.save(tmp_path / "r.npz")
    read = koopctrl.load(tmp_path / "r.npz")
    assert read.artist is None
    read.animate(tmp_path / "signals.gif", max_frames=3)
    read.animate(tmp_path / "drawn.gif", env=gymnasium.make("koopctrl_envs:koopctrl/Pendulum-v0"))
    result.animate(tmp_path / "own.gif")
    np.testing.assert_array_equal(frames(tmp_path / "drawn.gif")[0], frames(tmp_path / "own.gif")[0])
    assert frames(tmp_path / "signals.gif")[0].shape[1:] != (360, 640, 3)


def test_signals_have_a_line_that_runs_along():
    pictures = list(animation._signals(pendulum(), [0, 3, 6]))
    moved = [np.flatnonzero((a != b).any(axis=(0, 2))) for a, b in itertools.pairwise(pictures)]
    # From one picture to the next the line leaves a column and comes to one further right, evenly.
    (a, b), (c, d) = moved
    assert b == c
    assert 0 < b - a == pytest.approx(d - c, abs=1)


def test_plants_without_a_picture_show_their_signals(tmp_path):
    result = run_closed_loop(lambda x, u: 0.9 * x + u, Hold([0.1]), 6, x0=[1.0], dt=0.1)
    result.animate(tmp_path / "a.gif")
    assert len(frames(tmp_path / "a.gif")[0]) == 7


FFMPEG = """#!{python}
import sys
data = sys.stdin.buffer.read()
open(sys.argv[-1], "wb").write(repr((sys.argv[1:], len(data))).encode())
sys.exit({code})
"""


def program(folder, monkeypatch, code=0):
    path = folder / "ffmpeg"
    path.write_text(FFMPEG.format(python=sys.executable, code=code))
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_ffmpeg_is_handed_every_pixel(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch)
    pendulum().animate(tmp_path / "a.mp4")
    arguments, size = eval((tmp_path / "a.mp4").read_text())
    assert size == (N + 1) * 360 * 640 * 3
    assert arguments[arguments.index("-s") + 1] == "640x360"
    assert float(arguments[arguments.index("-r") + 1]) == 20.0


def test_what_ffmpeg_cannot_do_is_told(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, code=3)
    with pytest.raises(OptionError, match=r"ffmpeg could not write .*exit code 3"):
        pendulum().animate(tmp_path / "a.mp4")


def test_without_ffmpeg_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(
        OptionError, match=r"there is no ffmpeg to write it; install ffmpeg .* or write a .gif"
    ):
        pendulum().animate(tmp_path / "a.mp4")
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.skipif(
    shutil.which("ffmpeg") is None and importlib.util.find_spec("imageio_ffmpeg") is None,
    reason="neither ffmpeg nor imageio-ffmpeg is installed: pip install imageio-ffmpeg",
)
def test_real_videos_are_written(tmp_path):
    pendulum().animate(tmp_path / "a.mp4")
    assert b"ftyp" in (tmp_path / "a.mp4").read_bytes()[:16]


def test_gymnasium_records_videos(tmp_path):
    pytest.importorskip("moviepy")
    from gymnasium.wrappers import RecordVideo

    env = gymnasium.make("koopctrl_envs:koopctrl/Pendulum-v0", render_mode="rgb_array", max_episode_steps=5)
    env = RecordVideo(env, str(tmp_path / "videos"), disable_logger=True)
    env.reset(seed=0)
    for _ in range(5):
        env.step(np.zeros(1))
    env.close()
    assert list((tmp_path / "videos").glob("*.mp4"))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.avi", {}, "expected a name that ends in .gif or .mp4"),
        ("no/a.gif", {}, "whose folder does not exist"),
        ("a.gif", {"fps": 0.0}, "fps is 0"),
        ("a.gif", {"max_frames": 0}, "max_frames is 0"),
        ("a.gif", {"env": object()}, r"has no artist\(\)"),
        ("a.gif", {"env": gymnasium.make("koopctrl_envs:koopctrl/CartPole-v0")}, "env draws 4 states"),
    ],
)
def test_bad_arguments_are_refused_clearly(tmp_path, name, options, message):
    with pytest.raises(OptionError, match=message):
        animate_closed_loop(pendulum(), tmp_path / name, **options)
