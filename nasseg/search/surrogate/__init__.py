"""Search over a surrogate: evolution, NSGA-II, random search."""
