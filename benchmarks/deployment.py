"""What leaves Python beside peers: tables of regions, retuned C, FMUs and ONNX graphs.

- explicit: `LinearMPC.to_explicit` beside PPOPT (`pip install ppopt`, geometric algorithm) on the same
  programme, condensed here from `A` and `B`: a mass of 2 states and 5 steps, two masses on a spring with 4
  states and 3. Inputs at random states where both have a region, and beside the online controller; time to
  make the table and to look one input up.
- retuning: a mass whose controller is given another weight on its input at samples 20 and 40. Generated C
  (`tunings=`, `NAME_retune`), Python's `with_`, and do-mpc with the weight as a time-varying parameter:
  inputs along the same loop, and what a change and a step cost.
- fmu: `LinearMPC` with a Kalman filter, and its plant, written as FMUs (FMI 3.0) and run by fmpy, beside the
  same loop in Python.
- onnx: a network's step in onnxruntime beside NumPy, for one state and for a thousand.

Times are medians; ratios are of the same run.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import ctypes
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common as c
import casadi
import numpy as np
from _do_mpc import import_do_mpc

from koopctrl import KalmanFilter, KoopmanRNN, LiftedModel, LinearMPC, Trajectories
from koopctrl.export.c.sil import CompiledMPC
from koopctrl_envs import VanDerPol

MASS = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.005], [0.1]])
SPRING = (
    np.eye(4) + 0.1 * np.array([[0, 1, 0, 0], [-1, 0, 1, 0], [0, 0, 0, 1], [1, 0, -1, 0]]),
    0.1 * np.array([[0.0], [1.0], [0.0], [0.0]]),
)
CASES = {"mass, 2 states, 5 steps": (MASS, 5), "two masses, 4 states, 3 steps": (SPRING, 3)}
Q, R, BOX, U_MAX, Y_MAX = 1.0, 0.1, 1.0, 1.0, 0.8


def median_time(call: Callable[[Any], Any], arguments: Any) -> float:
    """Of one call, s."""
    times = []
    for argument in arguments:
        begin = time.perf_counter()
        call(argument)
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def multiparametric(A: np.ndarray, B: np.ndarray, N: int) -> Any:
    """PPOPT's table of `min sum Q|x_k|^2 + R|u_k|^2` under the bounds, made from `A` and `B` alone."""
    from ppopt.mp_solvers.solve_mpqp import mpqp_algorithm, solve_mpqp
    from ppopt.mpqp_program import MPQP_Program

    n, m = B.shape
    powers = [np.linalg.matrix_power(A, k) for k in range(N + 1)]
    free = np.vstack(powers[1:])
    forced = np.zeros((N * n, N * m))
    for i in range(N):
        for j in range(i + 1):
            forced[i * n : i * n + n, j * m : j * m + m] = powers[i - j] @ B
    H = 2.0 * (Q * forced.T @ forced + R * np.eye(N * m))
    cross = 2.0 * Q * forced.T @ free
    rows = np.vstack([np.eye(N * m), -np.eye(N * m), forced, -forced])
    high = np.concatenate([np.full(2 * N * m, U_MAX), np.full(2 * N * n, Y_MAX)])[:, None]
    moves = np.vstack([np.zeros((2 * N * m, n)), -free, free])
    box = np.vstack([np.eye(n), -np.eye(n)]), np.full((2 * n, 1), BOX)
    # PPOPT has theta'H'x with H of theirs (n_x, n_theta).
    program = MPQP_Program(rows, high, np.zeros((N * m, 1)), cross, H, *box, moves)
    return solve_mpqp(program, mpqp_algorithm.geometric)


def in_c(made: Any, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The lookup in C as a function of the state."""
    made.to_c(folder, "table")
    library = folder / "table.so"
    subprocess.run(
        ["gcc", "-O2", "-shared", "-fPIC", str(folder / "table.c"), "-o", str(library), "-lm"], check=True
    )
    look, u = ctypes.CDLL(str(library)).table_lookup, np.zeros(1)
    pointer = ctypes.c_void_p(u.ctypes.data)
    return lambda x: (look(ctypes.c_void_p(x.ctypes.data), None, None, pointer), u.copy())[1]


def explicit(n_points: int, n_peer: int) -> dict[str, Any]:
    """Tables of regions."""
    out = {}
    for title, ((A, B), N) in CASES.items():
        model = LiftedModel.from_matrices(A, B, dt=0.1)
        options = {"u_min": -U_MAX, "u_max": U_MAX, "y_min": -Y_MAX, "y_max": Y_MAX, "terminal": "none"}
        mpc = LinearMPC(model, N, Q, R, **options)
        made, seconds = c.timed(lambda mpc=mpc: mpc.to_explicit(-BOX, BOX))
        theirs, their_seconds = c.timed(lambda A=A, B=B, N=N: multiparametric(A, B, N))
        rng, online, gaps, peer, solved = np.random.default_rng(0), [], [], [], 0
        points = rng.uniform(-BOX, BOX, (n_points, len(A)))
        with tempfile.TemporaryDirectory() as folder:
            look = in_c(made, Path(folder))
            for k, x in enumerate(points):
                u = made.control(x)
                if made.info.status != "optimal":
                    continue
                solved += 1
                online.append(abs(u - mpc.control(x)).max())
                gaps.append(abs(u - look(x)).max())
                answer = theirs.evaluate(x[:, None]) if k < n_peer else None
                if answer is not None:
                    peer.append(abs(u - np.ravel(answer)[:1]).max())
            some = [x for x in points[:n_peer] if made.table.find(x / BOX) >= 0]
            times = {
                "online": median_time(mpc.control, some), "looked up": median_time(made.control, some),
                "looked up in C, with ctypes": median_time(look, some),
                "PPOPT": median_time(theirs.evaluate, [x[:, None] for x in some]),
            }  # fmt: skip
        out[title] = {
            "regions": made.n_regions, "regions_ppopt": len(theirs.critical_regions),
            "points": n_points, "in_a_region": solved, "points_ppopt": len(peer),
            "gap_online": max(online), "gap_c": max(gaps), "gap_ppopt": max(peer),
            "seconds": seconds, "seconds_ppopt": their_seconds, "step_seconds": times,
        }  # fmt: skip
    return out


class Weighed:
    """do-mpc on the mass, the weight on its input a time-varying parameter."""

    def __init__(self, N: int, r: np.ndarray) -> None:
        model = import_do_mpc().model.Model("discrete")
        x, u = model.set_variable("_x", "x", (2, 1)), model.set_variable("_u", "u", (1, 1))
        weight, aim = model.set_variable("_tvp", "weight"), casadi.DM(r)
        model.set_rhs("x", casadi.DM(MASS[0]) @ x + casadi.DM(MASS[1]) @ u)
        model.setup()
        mpc = self.mpc = import_do_mpc().controller.MPC(model)
        mpc.settings.n_horizon, mpc.settings.t_step = N, 0.1
        mpc.settings.supress_ipopt_output()
        mpc.settings.nlpsol_opts.update({"ipopt.tol": 1e-10})
        cost = Q * casadi.sumsqr(model.x["x"] - aim)
        mpc.set_objective(mterm=cost, lterm=cost + weight * casadi.sumsqr(model.u["u"]))
        mpc.set_rterm(u=0.0)
        mpc.bounds["lower", "_u", "u"], mpc.bounds["upper", "_u", "u"] = -U_MAX, U_MAX
        template = mpc.get_tvp_template()

        def weights(now: float) -> Any:
            del now
            template["_tvp", :, "weight"] = self.weight
            return template

        self.weight = R
        mpc.set_tvp_fun(weights)
        mpc.setup()
        mpc.x0 = np.zeros(2)
        mpc.set_initial_guess()

    def control(self, x: np.ndarray) -> np.ndarray:
        """Input at a state."""
        return self.mpc.make_step(x[:, None]).ravel()


def retuning() -> dict[str, Any]:
    """Weights that change on the way."""
    A, B = MASS
    N, r, weights = 15, np.array([0.5, 0.0]), {0: ("base", R), 20: ("quiet", 5.0), 40: ("brisk", 0.01)}
    model = LiftedModel.from_matrices(A, B, dt=0.1)
    mpc = LinearMPC(model, N, Q, R, u_min=-U_MAX, u_max=U_MAX, terminal="none")
    peer = Weighed(N, r)
    times: dict[str, list[float]] = {n: [] for n in ("C", "Python", "do-mpc", "with_", "retune")}
    gaps: dict[str, float] = {"Python": 0.0, "do-mpc": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        tunings = {name: mpc.with_(R=w) for name, w in weights.values() if name != "base"}
        compiled = CompiledMPC(mpc.to_c(folder, tunings=tunings))
        x, acting = np.array([-0.5, 0.3]), mpc
        for k in range(60):
            if k in weights:
                name, peer.weight = weights[k]
                times["retune"].append(c.timed(lambda name=name: compiled.retune(name))[1])
                acting, seconds = c.timed(lambda a=acting, w=peer.weight: a.with_(R=w))
                times["with_"].append(seconds)
            u, seconds = c.timed(lambda x=x: compiled.control(x, r))
            times["C"].append(seconds)
            for other, call in (("Python", lambda x=x, a=acting: a.control(x, r)),
                                ("do-mpc", lambda x=x: peer.control(x))):  # fmt: skip
                v, seconds = c.timed(call)
                times[other].append(seconds)
                gaps[other] = max(gaps[other], float(abs(v - u).max()))
            x = A @ x + B @ u + (0.3 * np.eye(2)[1] if k % 10 == 9 else 0.0)
    return {"gap": gaps, "seconds": {name: float(np.median(found)) for name, found in times.items()}}


def fmu() -> dict[str, Any]:
    """A controller and its plant in fmpy."""
    import fmpy
    from fmpy.fmi3 import FMU3Slave

    A, B = MASS
    model = LiftedModel.from_matrices(A, B, [[1.0, 0.0]], dt=0.1, output_names=["p"], input_names=["f"])
    estimator = KalmanFilter(model, 1e-3, 1e-2, disturbance="input")
    mpc = LinearMPC(model, 15, Q, R, u_min=-U_MAX, u_max=U_MAX, y_max=Y_MAX, estimator=estimator)
    with tempfile.TemporaryDirectory() as folder:
        made = [mpc.to_fmu(Path(folder) / "mpc.fmu"), model.to_fmu(Path(folder) / "mass.fmu", x0=[0.2, 0.0])]
        size, units, names = sum(m.path.stat().st_size for m in made), [], []
        for m in made:
            told = fmpy.read_model_description(str(m.path))
            unit: Any = FMU3Slave(
                guid=told.guid, unzipDirectory=fmpy.extract(str(m.path)), instanceName=m.name,
                modelIdentifier=told.coSimulation.modelIdentifier,
            )  # fmt: skip
            unit.instantiate()
            unit.enterInitializationMode()
            unit.exitInitializationMode()
            units.append(unit)
            names.append({v.name: [v.valueReference] for v in told.modelVariables})
        x, gap, ours, theirs = np.array([0.2, 0.0]), 0.0, [], []
        for k in range(200):
            r = [0.6 if k < 100 else -0.4]
            y = units[1].getFloat64(names[1]["p"])
            u, seconds = c.timed(lambda y=x[:1], r=r: mpc.control(y, r))
            ours.append(seconds)
            begin = time.perf_counter()
            units[0].setFloat64(names[0]["p"], y)
            units[0].setFloat64(names[0]["r_p"], r)
            units[0].doStep(currentCommunicationPoint=0.1 * k, communicationStepSize=0.1)
            sent = units[0].getFloat64(names[0]["f"])
            theirs.append(time.perf_counter() - begin)
            gap = max(gap, abs(u[0] - sent[0]), abs(y[0] - x[0]))
            units[1].setFloat64(names[1]["f"], sent)
            units[1].doStep(currentCommunicationPoint=0.1 * k, communicationStepSize=0.1)
            x = A @ x + B @ u
        for unit in units:
            unit.terminate()
            unit.freeInstance()
    seconds = {"Python": float(np.median(ours)), "fmpy": float(np.median(theirs))}
    return {"gap": gap, "bytes_of_both": size, "step_seconds": seconds, "fmpy": fmpy.__version__}


def onnx() -> dict[str, Any]:
    """A network's step in onnxruntime."""
    import onnxruntime

    plant, rng = VanDerPol(), np.random.default_rng(0)
    x, u = np.empty((20, 41, 2)), rng.uniform(-3, 3, (20, 40, 1))
    x[:, 0] = rng.uniform(-2, 2, (20, 2))
    for k in range(40):
        x[:, k + 1] = plant.step(x[:, k], u[:, k])
    model = KoopmanRNN(300, random_state=0).fit(Trajectories.from_arrays(x, u, dt=plant.dt))
    out: dict[str, Any] = {"onnxruntime": onnxruntime.__version__}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        for scalar, kind in (("double", np.float64), ("float", np.float32)):
            path = str(Path(folder) / f"{scalar}.onnx")
            model.to_onnx(path, scalar=scalar)
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            for rows in (1, 1000):
                at = rng.uniform(-2, 2, (rows, 2)), rng.uniform(-3, 3, (rows, 1))
                given = {"x": at[0].astype(kind), "u": at[1].astype(kind)}
                expected = model.network_.step(*at)
                gap = abs(session.run(["x_next"], given)[0] - expected).max()
                calls: dict[str, Callable[[], Any]] = {
                    "NumPy": lambda at=at: model.network_.step(*at),
                    "onnxruntime": lambda s=session, given=given: s.run(None, given),
                }
                times = c.interleaved_times(calls, 200)
                seconds = {name: float(np.median(found)) for name, found in times.items()}
                out[f"{scalar}, {rows}"] = {"gap": gap, "seconds": seconds}
    return out


def main() -> None:
    """Run."""
    p = c.parser(__doc__, seeds=1)
    p.set_defaults(threads=1)
    p.add_argument("--points", type=int, default=20_000, help="states looked up (default %(default)s)")
    p.add_argument("--peer-points", type=int, default=1000, help="of them with PPOPT (default %(default)s)")
    args = p.parse_args()
    warnings.simplefilter("ignore")
    figures: dict[str, Any] = {}
    parts: dict[str, Callable[[], Any]] = {
        "explicit": lambda: explicit(args.points, args.peer_points), "retuning": retuning, "fmu": fmu,
        "onnx": onnx,
    }  # fmt: skip
    with c.threads(args.threads):
        for name, part in parts.items():
            figures[name] = part()
            print(name, figures[name], flush=True, file=sys.stderr)
    rows = [
        [title, v["regions"], v["regions_ppopt"], v["gap_online"], v["gap_ppopt"], v["gap_c"],
         v["seconds_ppopt"] / v["seconds"], *(1e6 * s for s in v["step_seconds"].values())]
        for title, v in figures["explicit"].items()
    ]  # fmt: skip
    header = ["", "regions", "PPOPT's", "gap online", "PPOPT", "C", "PPOPT's time over ours", "us online",
              "looked up", "in C", "PPOPT"]  # fmt: skip
    c.print_table("Tables of regions", header, rows)
    c.write(args, "deployment", figures, peers=("casadi", "do-mpc", "ppopt", "fmpy", "onnxruntime"))


if __name__ == "__main__":
    main()
