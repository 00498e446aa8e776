"""To and from python-control, the only place where signals are rows and time is axis 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import control
import numpy as np

from koopctrl._time import fit_stamps
from koopctrl._validation import FloatArray, check_choice
from koopctrl.data.trajectories import Trajectories, Trajectory
from koopctrl.errors import DataError, TimeBaseError
from koopctrl.export.names import named_for_pycontrol

if TYPE_CHECKING:
    from koopctrl.controllers.loop.closed_loop import ClosedLoopResult
    from koopctrl.koopman_rnn import KoopmanRNN
    from koopctrl.lifted.model import LiftedModel


def lifted_to_statespace(lifted: LiftedModel, name: str = "lifted") -> control.StateSpace:
    """State-space object of the linear face, in deviations.

    States are `z - z_e`, inputs `u - u_op` and outputs `y - y_e`, where `(z_e, y_e) = lifted.equilibrium()`
    is the linear face's fixed point (`z_e = 0`, `y_e = y_op` at an equilibrium). In these coordinates the
    affine drift is gone, so simulation in deviations is exact. Bilinear terms are not part of it. Dots in
    names, which python-control forbids, are rewritten; the system's `renamed` maps old names to new ones.

    Raises
    ------
    SolverError
        If the linear face drifts and has no fixed point.
    """
    lifted.equilibrium()
    # The window's samples are the outputs, unless these are other combinations of the state.
    n_y, same = lifted.window.n_y, lifted.window.n_y == lifted.n_y
    newest = lifted.output_names if same else tuple(f"x{i}" for i in range(n_y))
    names = lifted.window.names(newest, lifted.input_names)
    states = [f"{n} (scaled)" for n in names] + [f"z{i}" for i in range(lifted.n_x, lifted.n_z)]

    def make(inputs: list[str], outputs: list[str]) -> control.StateSpace:
        return control.StateSpace(
            lifted.A,
            lifted.B,
            lifted.C,
            lifted.D,
            lifted.dt,
            inputs=inputs,
            outputs=outputs,
            states=states,
            name=name,
            remove_useless_states=False,
        )

    return named_for_pycontrol(make, lifted.input_names, lifted.output_names, name)


def network_to_nlsys(model: KoopmanRNN, name: str = "koopman_rnn") -> control.NonlinearIOSystem:
    """Discrete-time nonlinear system of the recurrent network, in raw units.

    The state is the measured signals or the lag window. Without feedthrough `y_k` is its newest output; with
    feedthrough `x_k` ends one sample earlier and `y_k = f(x_k, u_k)`. Of a hidden state the outputs are its
    readout. With a `rollout_margin` steps are held within the training range as in `predict`.
    """
    net, bounds = model._network, model.rollout_bounds()
    feedthrough = not model.hidden and net.window.shift > 0
    recurrent = net.state if model.hidden else net

    def next_output(x: FloatArray, u: FloatArray) -> FloatArray:
        y = recurrent.next_output(x, u)
        return y if bounds is None else np.clip(y, *bounds)

    def update(t: float, x: Any, u: Any, params: dict[str, Any]) -> FloatArray:
        state, acting = np.asarray(x, dtype=float), _inputs(u)
        return recurrent.window.advance(state, acting, next_output(state, acting))

    def output(t: float, x: Any, u: Any, params: dict[str, Any]) -> FloatArray:
        if model.hidden:
            return net.output(np.asarray(x, dtype=float), _inputs(u))
        if feedthrough:
            return next_output(np.asarray(x, dtype=float), _inputs(u))
        return np.asarray(x, dtype=float)[: net.window.n_y]

    def _inputs(u: Any) -> FloatArray:
        return np.atleast_1d(np.asarray(u, dtype=float))[: net.window.n_u]

    # With output lags the newest output and the state's first entry would share a name.
    states = [f"x[{n}]" for n in model.state_names_]

    def make(inputs: list[str], outputs: list[str]) -> control.NonlinearIOSystem:
        return control.nlsys(
            update, output, inputs=inputs, outputs=outputs, states=states, dt=model.dt_, name=name
        )

    return named_for_pycontrol(make, model.input_names_, model.output_names_, name)


def trajectories_from_timeresponse(
    response: control.TimeResponseData, *, signals: str = "outputs"
) -> Trajectories:
    """Episodes of a `TimeResponseData`: one per trace.

    Parameters
    ----------
    response : control.TimeResponseData
        On a uniform time grid.
    signals : {"outputs", "states"}
        What is measured.

    Raises
    ------
    TimeBaseError
        If its time grid is not uniform.
    DataError
        If the response has no such signals.
    """
    check_choice(signals, "signals", ("outputs", "states"))
    if not isinstance(response, control.TimeResponseData):
        raise DataError(f"response is a {type(response).__name__}; expected control.TimeResponseData")
    time = np.asarray(response.time, dtype=float)
    if time.ndim != 1 or len(time) < 2:
        raise TimeBaseError(f"response has times of shape {time.shape}; expected at least two samples")
    try:
        step, _ = fit_stamps([time], "response.time")
    except TimeBaseError as error:
        reason = str(error).split(". ")[0]
        raise TimeBaseError(
            f"response has no uniform time grid ({reason}); expected equal steps. Simulate on linspace"
        ) from error
    # `.y`, `.x`, `.u` are never squeezed: (signals, [traces,] times).
    values = response.y if signals == "outputs" else response.x
    if values is None:
        raise DataError(f"response has no {signals}; expected them. Simulate with return_x=True")
    labels = response.output_labels if signals == "outputs" else response.state_labels
    names = list(labels) if labels else None
    inputs = response.u
    traces = values[:, None, :] if values.ndim == 2 else values
    input_traces = None
    if inputs is not None and inputs.size:
        input_traces = inputs[:, None, :] if inputs.ndim == 2 else inputs
    return Trajectories(
        Trajectory(
            traces[:, i, :].T,
            None if input_traces is None else input_traces[:, i, :].T,
            step,
            names,
            list(response.input_labels) if input_traces is not None and response.input_labels else None,
            str(i),
        )
        for i in range(traces.shape[1])
    )


def step_response(system: control.StateSpace) -> tuple[FloatArray, FloatArray]:
    """Step responses, time first: times `(n,)` and outputs `(n, n_y, n_u)`."""
    response = control.step_response(system, squeeze=False)
    return np.asarray(response.time), np.asarray(response.outputs).transpose(2, 0, 1)


def frequency_response(
    system: control.StateSpace, n_points: int = 400
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Frequencies `(n,)` in rad/s up to Nyquist, gain and unwrapped phase in rad, each `(n_y, n_u, n)`."""
    nyquist = np.pi / float(system.dt)
    omega = nyquist * np.logspace(-3.0, -1e-4, n_points)
    response = control.frequency_response(system, omega, squeeze=False)
    values = np.asarray(response.complex)
    return omega, np.abs(values), np.unwrap(np.angle(values), axis=-1)


def closed_loop_to_timeresponse(result: ClosedLoopResult) -> control.TimeResponseData:
    """A closed-loop episode in python-control's form; the last input is held to give it `n + 1` samples."""
    inputs = np.concatenate([result.inputs, result.inputs[-1:]])
    n_x = result.states.shape[1]
    return control.TimeResponseData(
        result.time,
        result.outputs.T,
        result.states.T,
        inputs.T,
        issiso=False,
        output_labels=list(result.output_names),
        input_labels=list(result.input_names),
        state_labels=[f"x{i}" for i in range(n_x)],
        squeeze=False,
        title="closed loop",
        sysname="closed_loop",
    )
