"""Several runs of a searcher, and how much they agree."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from nasseg.errors import ConfigError
from nasseg.search.surrogate.evolution import EAOptimizer
from nasseg.search.surrogate.result import Generation

if TYPE_CHECKING:
    from torch import nn

    from nasseg.search_spaces import SearchSpace

logger = logging.getLogger(__name__)


class Worker:
    """Runs an optimizer several times; keeps the best and says mean and spread.

    Arguments and attributes are those of ``Worker`` in github.com/IBM/analog-nas; nothing is
    printed and no file is written.

    Args:
        cs: The search space.
        eval: Evaluator of an :class:`EAOptimizer` made here, where no ``optimizer`` is given.
        optimizer: Anything whose ``run(cs)`` returns an architecture and its score.
        runs: Calls of ``run``.
        max_budget: AnalogNAS's argument, unused there and here.
        n_iter: Generations of the optimizer made from ``eval``.

    Raises:
        ConfigError: no space, neither evaluator nor optimizer, or no runs.
    """

    def __init__(
        self,
        cs: SearchSpace | None = None,
        eval: Any = None,
        optimizer: Any = None,
        runs: int = 5,
        max_budget: float = 1,
        n_iter: int = 100,
    ) -> None:
        if cs is None:
            raise ConfigError("Worker: cs is None; allowed: a search space (get_space)")
        if optimizer is None and eval is None:
            raise ConfigError("Worker: give an optimizer, or an evaluator as eval")
        if runs < 1:
            raise ConfigError(f"Worker: runs is {runs!r}; allowed: 1 or more")
        self.config_space = cs
        self.evaluation = eval
        self.optimizer = EAOptimizer(eval, nb_iter=n_iter) if optimizer is None else optimizer
        self.runs = runs
        self.max_budget = max_budget
        self.n_iter = n_iter
        self.best_config: dict[str, Any] | None = None
        """The best architecture of all runs; None before :meth:`search`."""
        self.best_acc = 0.0
        """Its score."""
        self.mean_acc = math.nan
        """Mean over the runs of the best score."""
        self.std = math.nan
        """Standard deviation of these; NaN with a single run."""
        self.std_err = math.nan
        """Standard error of their mean; NaN with a single run."""
        self.results: list[tuple[dict[str, Any], float]] = []
        """Architecture and score of every run."""
        self.histories: list[tuple[Generation, ...]] = []
        """Generations of every run, where the optimizer records them."""

    @property
    def best_arch(self) -> nn.Module:
        """The network of the best architecture.

        Raises:
            ConfigError: before :meth:`search`.
        """
        if self.best_config is None:
            raise ConfigError("Worker: there is no best architecture before search()")
        return self.config_space.build(self.best_config)

    def search(self) -> None:
        """Run the optimizer; an interruption leaves the worker as it was."""
        results, histories = [], []
        for run in range(self.runs):
            arch, score = self.optimizer.run(self.config_space)
            results.append((arch, float(score)))
            histories.append(tuple(getattr(self.optimizer, "history", ())))
            logger.info(
                "run %d of %d: best predicted score %.4f", run + 1, self.runs, results[-1][1]
            )
        scores = np.array([score for _, score in results])
        self.results, self.histories = results, histories
        self.best_config, self.best_acc = results[int(scores.argmax())]
        self.mean_acc = float(scores.mean())
        self.std = float(scores.std(ddof=1)) if self.runs > 1 else math.nan
        self.std_err = self.std / math.sqrt(self.runs)

    def result_summary(self) -> str:
        """Best score, mean and spread in one line (AnalogNAS prints it; this returns it)."""
        if self.best_config is None:
            return "not searched yet"
        spread = f" +- {self.std:.4f}" if self.runs > 1 else ""
        return f"best score {self.best_acc:.4f}; over {self.runs} runs {self.mean_acc:.4f}{spread}"
