"""Tasks on the plants, each with the cost of a controller that knows everything.

Every plant has them, made from the plant itself:

- `regulation`: to the first equilibrium, from starts of the plant's own;
- `setpoints`: from one rest point to the next, with constraints on the outputs that move;
- `tracking`: along a path through rest points, with its preview;
- `disturbed`: at rest, under a load and a drifting parameter that controllers are not told of.

>>> from koopctrl_envs.tasks import make_tasks, reference_score
>>> task = make_tasks("VanDerPol")["setpoints"]
>>> env = task.make()
>>> reference_score(task).cost
"""

from koopctrl_envs.tasks.scores import ReferenceScore, reference_score
from koopctrl_envs.tasks.standard import TaskSettings, find_id, make_tasks, plant_ids
from koopctrl_envs.tasks.task import Task, plant_name
from koopctrl_envs.tasks.task_env import TaskEnv

__all__ = [
    "ReferenceScore",
    "Task",
    "TaskEnv",
    "TaskSettings",
    "find_id",
    "make_tasks",
    "plant_ids",
    "plant_name",
    "reference_score",
]
