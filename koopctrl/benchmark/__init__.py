"""Ranking controllers on tasks: `koopctrl.bench`, and `koopctrl bench` on the command line.

The tasks are those of `koopctrl_envs.tasks`, which is imported where they are run.
"""
