"""Labelling architectures, alone or with workers."""
