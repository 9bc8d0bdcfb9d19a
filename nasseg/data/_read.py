"""Readers of :mod:`nasseg.data.read`, under the name of an earlier version."""

from nasseg.data.read import read_ids, read_image, read_label, read_values

__all__ = ["read_ids", "read_image", "read_label", "read_values"]
