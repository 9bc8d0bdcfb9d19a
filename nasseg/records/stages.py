"""The stages of a run."""

STAGES = ("search", "train", "analog", "drift", "report")
"""Stages of a run, in order."""
