"""The loop and what it stands on: optimisers, schedules, precision, processes, checkpoints, health."""
