"""What envs that draw themselves have in common."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium

from koopctrl_envs.checks import FloatArray
from koopctrl_envs.rendering.history import History


class Drawn(gymnasium.Env[FloatArray, FloatArray]):
    """An env that keeps its episode and shows it: `render`, its window, and copies without one.

    An env calls `_set_render_mode` when it is made, `_record` after every reset and step.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 20}  # noqa: RUF012
    body: ClassVar[str] = "phase_plane"
    """What pictures show on the left: a name in `koopctrl_envs.rendering.bodies.BODIES`."""
    shown: ClassVar[tuple[str, ...] | None] = None
    """Outputs that pictures trace, by default all; none to have the states as a map over time."""
    plant: Any
    """Names and units of signals, their limits, and `dt`."""

    def _set_render_mode(self, render_mode: str | None, dt: float) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode is {render_mode!r}; expected 'rgb_array', 'human' or None")
        self.render_mode = render_mode
        rate = round(1.0 / dt)
        if rate >= 10:
            # In real time; slower plants are shown faster than they are.
            self.metadata = {**self.metadata, "render_fps": min(rate, 60)}
        self._history: History | None = None
        self._frame: Any = None

    def render(self) -> Any:
        """The episode so far: pixels `(360, 640, 3)` in mode "rgb_array"; "human" shows its window.

        Set-points are those of `reference` at each step, which may be assigned to between steps.
        """
        if self.render_mode is None:
            gymnasium.logger.warn("render() was called without a render_mode; pass one to gymnasium.make")
            return None
        if self._history is None:
            raise gymnasium.error.ResetNeeded("render() was called before reset(); call reset() first")
        frame = self._open_frame()
        frame.draw(self._history)
        if self.render_mode == "rgb_array":
            return frame.array()
        frame.show(1.0 / self.metadata["render_fps"])
        return None

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._frame is not None:
            self._frame.close()
            self._frame = None

    def __getstate__(self) -> dict[str, Any]:
        # Copies and pickles draw figures of their own.
        return {**self.__dict__, "_frame": None}

    def _open_frame(self) -> Any:
        if self._frame is None:
            from koopctrl_envs.rendering.frame import Frame

            shown = self.plant.output_names if self.shown is None else self.shown
            self._frame = Frame(self.plant, self.body, shown, self.render_mode == "human")
        return self._frame

    def _record(
        self, t: float, x: FloatArray, y: FloatArray, r: FloatArray, u: FloatArray, note: str = ""
    ) -> None:
        """Keep a sample for pictures, and show it where there is a window; time zero begins anew."""
        if self.render_mode is None:
            return
        if self._history is None or t == 0.0:
            self._history = History()
        self._history.add(t, x, y, r, u)
        self._history.note = note
        if self.render_mode == "human":
            self.render()
