"""Budgets at which the architectures of a bench were trained, by name."""

PROXY = "proxy"
"""Name of the short budget of a bench, at which all of its architectures were measured."""
FULL = "full"
"""Name of the budget of a real training, at which a few were."""
SCREEN = "screen"
"""Name of the budget of seconds, at which many others were."""
