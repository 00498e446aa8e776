"""From a CSV file to a judged, exported model
===========================================

Five lines for those who know python-control and scikit-learn.
"""

from pathlib import Path

import control
import matplotlib.pyplot as plt

import koopctrl
from koopctrl import KoopmanRNN, Trajectories
from koopctrl.plotting import plot_step_and_bode

path = Path(koopctrl.__file__).parent / "data" / "datasets" / "hairdryer.csv"

data = Trajectories.from_csv(path, outputs=["y"], inputs=["u"], dt=0.08)
train, test = data.split(0.5, by="time")
model = KoopmanRNN(output_lags=4, input_lags=4, random_state=0).fit(train)
print(f"free-run R2 on the unseen half: {model.score(test, n_init=20):.3f}")
system = model.to_statespace()

poles = control.poles(system)
print(f"{system.nstates} states, gain {float(system.dcgain()):.3f}, largest pole {max(abs(poles)):.3f}")

plot_step_and_bode(system)
plt.show()
