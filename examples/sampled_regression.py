"""A network without training
==========================

Neurons from pairs of samples and one solve, in scikit-learn's form: the error falls with the width.
"""

import matplotlib.pyplot as plt
import numpy as np

from koopctrl.sampled import SampledNetworkRegressor

rng = np.random.default_rng(0)


def barron(x):
    """A function with kinks along two spheres' difference."""
    a = 0.5 / np.sqrt(x.shape[1])
    return np.sqrt(1.5) * (np.linalg.norm(x - a, axis=1) - np.linalg.norm(x + a, axis=1))


widths = [16, 32, 64, 128, 256, 512]
figure, axis = plt.subplots(figsize=(6.0, 3.6), layout="constrained")
for n_in in (1, 2, 5):
    x, x_test = rng.uniform(-1, 1, (4000, n_in)), rng.uniform(-1, 1, (4000, n_in))
    errors = []
    for width in widths:
        model = SampledNetworkRegressor(width, activation="relu", random_state=0).fit(x, barron(x))
        errors.append(np.sqrt(1.0 - model.score(x_test, barron(x_test))))
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    print(f"D = {n_in}: relative error {errors[-1]:.1e} with {widths[-1]} neurons, slope {slope:.2f}")
    axis.loglog(widths, errors, "o-", label=f"D = {n_in}")
axis.set(xlabel="neurons", ylabel="relative error", title="Barron functions, 4000 samples")
axis.set_xticks(widths, widths)
axis.minorticks_off()
axis.legend()
plt.show()
