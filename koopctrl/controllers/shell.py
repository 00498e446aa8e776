"""What all shells around a law and a state share: the arguments they were made with, and their estimator."""

from __future__ import annotations

from os import PathLike
from typing import Any

from koopctrl.controllers.estimation.filter_shell import FilterShell
from koopctrl.controllers.settings import copied
from koopctrl.errors import OptionError


class ControllerShell:
    """Base of `LQR`, `LinearMPC` and `RNNMPC`.

    Attributes
    ----------
    law
        Numbers that do not change, and a pure `step`.
    state
        All that is remembered; may be kept and set again.
    """

    law: Any
    state: Any
    _settings: dict[str, Any]

    def _keep(self, settings: dict[str, Any]) -> None:
        """Remember the arguments that made this controller."""
        self._settings, self._observer = copied(settings), settings["estimator"]

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that made this controller."""
        return dict(self._settings)

    @property
    def estimator(self) -> Any:
        """What tells the plant's state from measurements: numbers; its state is `state.estimator`."""
        return self.law.estimator

    @property
    def observer(self) -> Any:
        """The filter that was given, showing this controller's own estimate; None where none was given."""
        given = self._observer
        return given.seen_from(self.state.estimator) if isinstance(given, FilterShell) else given

    @property
    def n_measured(self) -> int:
        """Number of measured signals."""
        return self.law.estimator.n_measured

    def save(self, path: str | PathLike[str]) -> None:
        """Write this controller to a file that `koopctrl.load` reads; see `koopctrl.controllers.storage`.

        Parameters
        ----------
        path : path-like
            File to write, exactly; by convention it ends in `.npz`.
        """
        from koopctrl.controllers.storage import save_controller

        save_controller(self, path)

    def _changed(self, changes: dict[str, Any]) -> dict[str, Any]:
        """The settings with some of them changed; refuses what is no argument."""
        unknown = sorted(set(changes) - set(self._settings))
        if unknown:
            raise OptionError(
                f"with_ was given {', '.join(unknown)}; expected arguments of {type(self).__name__}: "
                f"{', '.join(self._settings)}"
            )
        return {**self._settings, **changes}
