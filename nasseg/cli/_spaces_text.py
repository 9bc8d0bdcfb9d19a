"""Search spaces in words, for ``nasseg spaces``."""

from __future__ import annotations

import json
import textwrap

import numpy as np

from nasseg.cli._help import WIDTH
from nasseg.search_spaces import SearchSpace, get_space, list_spaces


def list_all() -> str:
    """Every registered space with its size and what its class says of it."""
    lines = []
    for name in list_spaces():
        space = get_space(name)
        said = (type(space).__doc__ or "").strip().split("\n\n")[0]
        text = " ".join(said.replace("``", "").split())
        lines.append(f"{name} (version {space.version}): {_big(space.size())} architectures")
        lines += textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")
    lines += ["", "nasseg spaces NAME shows the hyperparameters of one."]
    return "\n".join(lines)


def describe_space(name: str, seed: int = 0) -> str:
    """One space: its hyperparameters with their allowed values, and a sampled architecture.

    Raises:
        UnknownName: no such space.
    """
    space: SearchSpace = get_space(name)
    title = f"{name} (version {space.version}): {_big(space.size())} architectures"
    lines = [title, "", f"{'hyperparameter':16}{'kind':8}allowed"]
    for entry in space.hyperparameters:
        allowed = ", ".join(str(choice) for choice in entry.choices)
        needs = "; ".join(
            f"{condition.parent} = {' or '.join(map(str, condition.values))}"
            for condition in entry.conditions
        )
        text = f"{allowed}   (only where {needs})" if needs else allowed
        lines += textwrap.wrap(
            text,
            WIDTH,
            initial_indent=f"{entry.name:16}{entry.kind:8}",
            subsequent_indent=" " * 24,
        )
    arch = space.sample(np.random.default_rng(seed))
    lines += ["", f"one architecture (seed {seed}, id {space.arch_id(arch)}); 0 = inactive"]
    lines += textwrap.wrap(json.dumps(arch), WIDTH, break_on_hyphens=False)
    return "\n".join(lines)


def _big(count: int) -> str:
    return f"{count:,}" if count < 10**7 else f"{count:.2e}"
