"""Judging a finished job by its committed outcomes: one small file a duty, and one a task."""
