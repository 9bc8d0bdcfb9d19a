"""``nasseg spaces``: list the search spaces, or show one."""

from __future__ import annotations

import json
import textwrap

from nasseg.cli._command import Command, at_most, say
from nasseg.cli._flags import Flag, Given, whole
from nasseg.cli._help import WIDTH


def _spaces(given: Given, words: list[str]) -> int:
    say(describe_space(words[0], given["seed"]) if words else list_all())
    return 0


def list_all() -> str:
    """Return every registered space with its size and the first paragraph of its docstring."""
    from nasseg.search_spaces import get_space, list_spaces

    lines = []
    for name in list_spaces():
        space = get_space(name)
        doc = (type(space).__doc__ or "").strip().split("\n\n")[0]
        text = " ".join(doc.replace("``", "").split())
        lines.append(f"{name} (version {space.version}): {_big(space.size())} architectures")
        lines += textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")
    lines += ["", "nasseg spaces NAME shows the hyperparameters of one."]
    return "\n".join(lines)


def describe_space(name: str, seed: int = 0) -> str:
    """Return the hyperparameters of a space with their allowed values, and an architecture.

    Raises:
        UnknownName: no such space.
    """
    import numpy as np

    from nasseg.search_spaces import get_space

    space = get_space(name)
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


COMMAND = Command(
    name="spaces",
    purpose="list the search spaces, or show one",
    usage="[NAME]",
    description="List the search spaces; with NAME, its hyperparameters and one architecture.",
    flags=(Flag("seed", "N", "Seed of the architecture shown as an example.", whole(0), 0),),
    run=_spaces,
    check_words=at_most(1),
)
