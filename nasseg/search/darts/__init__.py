"""Differentiable search: a supernet whose shared weights rank the cells."""
