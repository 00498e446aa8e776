"""The other faces and the exports of a fitted model, each a delegate that imports on call."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any, cast

from numpy.typing import ArrayLike

from koopctrl._threads import few_threads
from koopctrl.data.trajectories import Trajectories, Trajectory

if TYPE_CHECKING:
    import casadi
    import control
    import do_mpc
    import onnx

    from koopctrl.export.c.model import GeneratedPart
    from koopctrl.export.fmu.archive import GeneratedFMU
    from koopctrl.identification.report import Report
    from koopctrl.identification.residuals import ResidualAnalysis
    from koopctrl.koopman_rnn import KoopmanRNN
    from koopctrl.lifted.model import LiftedModel
    from koopctrl.lifted.varying.family import LiftedFamily


class Faces:
    """What a `KoopmanRNN` turns into."""

    @property
    def _itself(self) -> KoopmanRNN:
        return cast("KoopmanRNN", self)

    @few_threads()
    def lift_at(
        self,
        x_op: ArrayLike | None = None,
        u_op: ArrayLike | None = None,
        *,
        parameter: ArrayLike | None = None,
        **options: Any,
    ) -> LiftedModel:
        """Linear face around an operating point; for `options` see `koopctrl.lifted.lift.lift_network`.

        By default several linear models are compared in closed loop on the network, plain least squares among
        them, and the simplest of the best is kept: `print(lifted.choice)`. Of a model with measured
        parameters it is that at `parameter`, by default the records' mean, and `u_op` has the inputs that are
        moved.
        """
        from koopctrl.lifted.hidden import lift_hidden
        from koopctrl.lifted.lift import lift_network

        model = self._itself
        if parameter is not None or model.parameter_names_:
            model = self.frozen(parameter)
        return (lift_hidden if model.hidden else lift_network)(model, x_op, u_op, **options)

    def frozen(self, parameter: ArrayLike | None = None) -> KoopmanRNN:
        """The model with its measured parameters held, a function of the moved inputs alone.

        See `koopctrl.lifted.varying.frozen.frozen_model`; by default at the records' mean.
        """
        from koopctrl.lifted.varying.frozen import frozen_model

        return frozen_model(self._itself, parameter)

    @few_threads()
    def lift_family(
        self, x_op: ArrayLike | None = None, u_op: ArrayLike | None = None, **options: Any
    ) -> LiftedFamily:
        """Linear models that are affine in the measured parameters: an LPV state-space model.

        For `options` see `koopctrl.lifted.varying.fit.lift_family`.
        """
        from koopctrl.lifted.varying.fit import lift_family

        return lift_family(self._itself, x_op, u_op, **options)

    @few_threads()
    def report(
        self,
        X: Trajectories | Iterable[Trajectory],
        horizons: tuple[int, ...] = (1, 10, 100),
        n_init: int | None = None,
    ) -> Report:
        """Sizes, conditioning and errors by horizon of both faces on `X`.

        For `horizons` and `n_init` see `koopctrl.identification.report.make_report`.
        """
        from koopctrl.identification.report import make_report

        return make_report(self._itself, Trajectories.coerce(X), horizons, n_init=n_init)

    def residual_analysis(self, X: Trajectories | Iterable[Trajectory], **options: Any) -> ResidualAnalysis:
        """Whiteness of residuals on `X` and their correlation with past inputs.

        For `options` see `koopctrl.residual_analysis`.
        """
        from koopctrl.identification.residuals import residual_analysis

        return residual_analysis(self._itself, X, **options)

    def to_statespace(
        self, x_op: ArrayLike | None = None, u_op: ArrayLike | None = None, **options: Any
    ) -> control.StateSpace:
        """`control.StateSpace` in lifted coordinates; `x_op`, `u_op` and `options` are those of `lift_at`."""
        return self.lift_at(x_op, u_op, **options).to_statespace()

    def to_nlsys(self) -> control.NonlinearIOSystem:
        """`control.NonlinearIOSystem` of the nonlinear face."""
        from koopctrl.export.pycontrol import network_to_nlsys

        return network_to_nlsys(self._itself)

    def to_casadi(self) -> casadi.Function:
        """`casadi.Function` `(x, u) -> x_next` of the nonlinear face."""
        from koopctrl.export.casadi import network_to_casadi

        return network_to_casadi(self._itself)

    def to_do_mpc(self, **options: Any) -> do_mpc.model.Model:
        """`do_mpc.model.Model`; for `options` see `koopctrl.export.do_mpc.network_to_do_mpc`."""
        from koopctrl.export.do_mpc import network_to_do_mpc

        return network_to_do_mpc(self._itself, **options)

    def to_c(
        self, folder: str | PathLike[str], name: str = "koopctrl_model", *, scalar: str = "double"
    ) -> GeneratedPart:
        """C99 of one step, its Jacobians and outputs; see `koopctrl.export.c.model.model_to_c`."""
        from koopctrl.export.c.model import model_to_c

        return model_to_c(self._itself, folder, name, scalar=scalar)

    def to_fmu(self, path: str | PathLike[str], **options: Any) -> GeneratedFMU:
        """Co-simulation FMU of the network (FMI 3.0 or 2.0); see `koopctrl.export.fmu.archive.to_fmu`."""
        from koopctrl.export.fmu.archive import to_fmu

        return to_fmu(self._itself, path, **options)

    def to_onnx(self, path: str | PathLike[str] | None = None, **options: Any) -> onnx.ModelProto:
        """ONNX graph of one step; see `koopctrl.export.onnx.network_to_onnx`."""
        from koopctrl.export.onnx import network_to_onnx

        return network_to_onnx(self._itself, path, **options)

    def save(self, path: str | PathLike[str]) -> None:
        """Write to the file `path` (`.npz`): arrays and JSON, no pickle. `koopctrl.load` reads it."""
        from koopctrl.storage import save

        save(self._itself, path)
