"""The network as a block in python-control
========================================

A PI loop around the identified network.
"""

import control
import matplotlib.pyplot as plt
import numpy as np

from koopctrl import KoopmanRNN, datasets

train, test = datasets.hair_dryer().split(0.5, by="time")
model = KoopmanRNN(50, input_coupling="network", output_lags=6, input_lags=20, random_state=0).fit(train)

plant = model.to_nlsys()
k_p, k_i = 0.4, 1.2
pi = control.ss([[1.0]], [[model.dt_]], [[k_i]], [[k_p]], model.dt_, inputs="e", outputs="u", name="pi")
error = control.summing_junction(inputs=["r", "-y"], output="e")
loop = control.interconnect(
    [plant, pi, error], inplist="r", outlist=["y", "u"], inputs="r", outputs=["y", "u"]
)

time = model.dt_ * np.arange(200)
reference = np.where(time < 8.0, 4.5, 5.5)
# Start at rest at 4.5: the window holds the equilibrium, the integrator the input that keeps it.
rest = model.lift_at(x_op=4.5, u_op=4.5)
response = control.input_output_response(
    loop, time, reference, np.append(rest.x_op, 4.5 / k_i), squeeze=False
)
print(f"outlet temperature signal at the end: {response.outputs[0, -1]:.4f}, set-point {reference[-1]}")

figure, axis = plt.subplots(figsize=(7.0, 3.0), layout="constrained")
axis.plot(time, response.outputs[0], label="outlet temperature")
axis.step(time, reference, "k:", where="post", label="set-point")
axis.set(xlabel="time [s]", ylabel="V", title="The loop closes in python-control")
axis.legend()
plt.show()
