"""A flow from its equation to predictive control
==============================================

Burgers' equation becomes forty states; an observer reads ten sensors, two weak actuators even the flow out.
"""

import matplotlib.pyplot as plt
import numpy as np

from koopctrl.controllers import FieldMPC
from koopctrl.sampled.pde import PDE, Diffusion, FieldObserver, Interval, Product

shapes = [lambda x, c=c: np.exp(-((15 * (x[:, 0] - c)) ** 2)) for c in (0.25, 0.75)]
flow = PDE(
    Interval(0, 1, periodic=True),
    [Diffusion(0.01), Product(-1.0, "u", "u_x")],  # u_t = 0.01 u_xx - u u_x + sum_j b_j(x) v_j(t)
    actuators=shapes,
    sensors=np.arange(10) / 10,
    initial=0.5,
)
model = flow.discretise(300, n_points=160, pair_distance=0.05, max_states=40, random_state=0)

# The plant is another discretisation of the same equation, finer and from other neurons.
dt, n_steps = 0.25, 48
plant = flow.discretise(300, n_points=200, pair_distance=0.05, random_state=7).step_face(dt)
mpc = FieldMPC(
    model,
    10,
    Q=0.1,
    R=0.01,
    dt=dt,
    u_min=-0.1,
    u_max=0.1,
    estimator=FieldObserver(model, dt, 1e-5, 1e-6, P0=0.1),
)  # fmt: skip

grid = np.arange(100) / 100
y = plant.reset(
    lambda x: 0.8 * np.sin(4 * np.pi * x[:, 0]) ** 2 + 0.2 * np.exp(-((5 * (x[:, 0] - 0.5)) ** 2))
)
fields, inputs, target = [plant.model.evaluate(plant.x, grid)], [], np.repeat([0.5, 0.6], n_steps // 2)
for r in target:
    inputs.append(mpc.control(y, reference=np.full(10, r)))
    y = plant.step(inputs[-1])
    fields.append(plant.model.evaluate(plant.x, grid))

error = np.sqrt(np.mean((np.array(fields[1:]) - target[:, None]) ** 2, axis=1))
print(f"{model.n_states} states for {plant.model.n_states} of the plant")
print(f"root mean square error at 6 s {error[23]:.4f}, at 12 s {error[47]:.4f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.2), layout="constrained")
image = left.imshow(np.array(fields).T, origin="lower", aspect="auto", extent=(0, n_steps * dt, 0, 1))
left.set(xlabel="t [s]", ylabel="x", title="Speed: even at 0.5, then at 0.6")
figure.colorbar(image, ax=left)
right.step(dt * np.arange(n_steps), inputs, where="post")
right.set(xlabel="t [s]", title="Two inputs, at most 0.1")
plt.show()
