"""A search space, an evaluator with a column of its own, a sampler and a memory cell."""

from dataclasses import replace

import numpy as np
from aihwkit.inference import PCMLikeNoiseModel
from optuna.samplers import RandomSampler

from nasseg.evaluators import Evaluator, Scores
from nasseg.search_spaces import UNetSpace

NARROW = {"out_channel0": (4, 6, 8), "kernel0": (3, 5)}


class Shallow(UNetSpace):
    """U-Nets with a narrow stem."""

    base_name = "shallow"
    base_hyperparameters = tuple(
        replace(h, choices=NARROW[h.name], default=NARROW[h.name][0]) if h.name in NARROW else h
        for h in UNetSpace.base_hyperparameters
    )


class Thrift(Evaluator):
    """Prefers few parameters; ``thrift`` is 1 for none and 0 for a million."""

    extra_columns = ("thrift",)

    def __init__(self, space):
        self.space = space

    def evaluate(self, archs):
        """Scores that no training was needed for."""
        thrift = 1 - np.log10(1 + self.space.count_params(self.space.encode(list(archs)))) / 6
        return Scores.of(len(thrift), day1=0.5 + thrift / 4, avm=0.1).with_extra(thrift=thrift)


def coin(request):
    """Draws at random, by the seed and the place in the study."""
    return RandomSampler(1000 * request.seed + request.slot)


class Calm(PCMLikeNoiseModel):
    """Phase-change memory at smaller conductances, which AIHWKit's model makes calmer."""

    g_max_us = 25.0
    elementwise = True
