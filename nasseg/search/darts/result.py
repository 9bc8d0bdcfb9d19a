"""The architecture that a one-shot search found, and the others that it scored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nasseg.config import SearchConfig, to_dict
from nasseg.search_spaces import SearchSpace


@dataclass(frozen=True)
class Ranked:
    """An architecture that was scored with the shared weights."""

    arch: dict[str, Any]
    probability: float
    """Product over its choices."""
    loss: float
    """With the shared weights, on images that these have not seen."""
    expected_loss: float
    """What the effects of its choices say that it should be."""


@dataclass(frozen=True)
class DartsResult:
    """What a search found."""

    arch: dict[str, Any]
    score: float
    """Its metric with the shared weights; a network trained by itself does better."""
    probabilities: dict[str, dict[str, float]]
    """Hyperparameter to choice to its final probability."""
    ranked: tuple[Ranked, ...]
    """The scored architectures, the one with the least expected loss first. It begins with as many
    as were to be proposed, the best of all within the bounds."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry an epoch, with the keys of a generation."""

    def to_dict(self, space: SearchSpace, config: SearchConfig) -> dict[str, Any]:
        """As ``best.json`` holds it, in the form that an evolution has there."""
        settings = {k: v for k, v in to_dict(config).items() if k.startswith("darts_")}
        best = [[space.arch_id(self.arch), self.score]]
        return {
            "arch": self.arch,
            "darts": {
                "probabilities": self.probabilities,
                "ranked": [
                    {
                        "arch_id": space.arch_id(entry.arch),
                        "probability": entry.probability,
                        "loss": entry.loss,
                        "expected_loss": entry.expected_loss,
                    }
                    for entry in self.ranked
                ],
            },
            "budget": {
                "strategy": "darts",
                **settings,
                "max_params": config.max_params,
                "max_macs_per_pixel": config.max_macs_per_pixel,
            },
            "runs": {"count": 1, "mean": self.score, "std": None, "best": best},
            "history": self.history,
        }
