"""Settings by cross-validation
============================

Episodes are samples to scikit-learn.
"""

import gymnasium
import matplotlib.pyplot as plt
from sklearn.model_selection import GridSearchCV

from koopctrl import KoopmanRNN, collect

env = gymnasium.make("koopctrl_envs:koopctrl/Duffing-v0")
env.action_space.seed(0)
data = collect(env, lambda obs: 0.3 * env.action_space.sample(), n_episodes=30, seed=0, max_steps=100)
train, test = data.split(test_fraction=0.3, random_state=0)

grid = {"input_coupling": ["linear", "bilinear", "network"], "feature_scale": [0.2, 0.5]}
search = GridSearchCV(KoopmanRNN(100, random_state=0), grid, cv=3).fit(train)

print("best settings:", search.best_params_)
print(f"free-run R2 on unseen episodes: {search.best_estimator_.score(test):.6f}")

scores = search.cv_results_
labels = [f"{p['input_coupling']}, {p['feature_scale']}" for p in scores["params"]]
figure, axis = plt.subplots(figsize=(7.0, 3.0), layout="constrained")
axis.barh(labels, 1.0 - scores["mean_test_score"], color="C0")
axis.set(xscale="log", xlabel="1 - R2 of the free run, cross-validated", title="Which setting errs least")
plt.show()
