"""More data than memory
=====================

Fit on an iterator of episodes, or add batches as they come.
"""

import gymnasium
import matplotlib.pyplot as plt

from koopctrl import KoopmanRNN, Trajectory, collect

env = gymnasium.make("koopctrl_envs:koopctrl/VanDerPol-v0")


def episodes(n: int, seed: int):
    """Yield episodes one by one; nothing keeps them."""
    for i in range(n):
        yield from collect(env, n_episodes=1, seed=seed + i)


unseen = collect(env, n_episodes=5, seed=1_000)

model = KoopmanRNN(100, random_state=0).fit(episodes(20, seed=0))
print(f"one pass over an iterator: free-run R2 {model.score(unseen):.8f}")

growing = KoopmanRNN(100, random_state=0)
pairs, errors = [], []
for batch in range(3):
    data: list[Trajectory] = list(episodes(5, seed=100 * batch))
    growing.partial_fit(data)
    pairs.append(growing.solution_.n_rows)
    errors.append(1.0 - growing.score(unseen))
    print(
        f"after batch {batch + 1} ({growing.solution_.n_rows} pairs): free-run R2 {growing.score(unseen):.8f}"
    )

figure, axis = plt.subplots(figsize=(7.0, 3.0), layout="constrained")
axis.semilogy(pairs, errors, "o-")
axis.set(
    xlabel="pairs of samples seen", ylabel="1 - R2, unseen episodes", title="It gets better as data come in"
)
plt.show()
