"""Samplers of a measured study: AnalogNAS's evolution, a Latin hypercube, and Optuna's own.

:data:`SAMPLERS` holds them by name. A strategy is added with :func:`register_sampler`, by an entry
point of the group ``nasseg.samplers``, or named as ``module:Name``: a function from a
:class:`Request` (space, seed, place in the study, bounds) to an Optuna sampler, which is made for
one proposal and asked with the trials measured so far in ``study``. So a proposal is a function of
those alone, however often the study was interrupted.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseGASampler,
    BaseSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import StudyDirection
from optuna.trial import TrialState

from nasseg._registry import Registry, factories
from nasseg.errors import ArchError, ConfigError
from nasseg.evaluators.features import Features
from nasseg.search.measured.bounds import SizeBounds, iterate_spread
from nasseg.search.measured.distributions import distributions, from_params, suggest, to_params
from nasseg.search.measured.domain import SpaceDomain
from nasseg.search.measured.strategies import (
    COVERING,
    INITIAL,
    History,
    SurrogateAssisted,
    offspring,
)

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from nasseg.evaluators.low_fidelity import LowFidelity
    from nasseg.search_spaces import SearchSpace

POPULATION = 10
"""Architectures of a generation: measured studies are short."""
CHILDREN = 32
"""Children made at a time, of which the first that is new and within the bounds is proposed."""
ROUNDS = 20
"""Times that many children are made before a new architecture of the hypercube is taken."""


class _ProposesArchitectures:
    """Proposes whole architectures; Optuna is told the parameters of their active parts."""

    space: SearchSpace
    bounds: SizeBounds
    seed: int

    @abstractmethod
    def propose(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """An architecture for ``trial``, given the other trials of ``study``."""

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Every hyperparameter: those that are not active are left out of what is sampled."""
        return distributions(self.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters of the proposed architecture."""
        return to_params(self.space, self.propose(study, trial))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """A parameter that is none of the space's is drawn at random."""
        own = RandomSampler(_optuna_seed(self.seed, trial.number))
        return own.sample_independent(study, trial, param_name, param_distribution)

    def seen(self, study: Study, trial: FrozenTrial) -> set[bytes]:
        """Keys of the networks of all other trials."""
        others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        return _keys(self.space, others)

    def _key(self, arch: dict[str, Any]) -> bytes:
        return self.space.network_keys(self.space.encode([arch]))[0]

    def from_hypercube(self, number: int, seen: set[bytes]) -> dict[str, Any]:
        """The first new architecture from place ``number`` of the hypercube on.

        Where every architecture within the bounds has been seen, one of them again.

        Raises:
            ConfigError: none is within the bounds.
        """
        passed: list[dict[str, Any]] = []
        for place, arch in enumerate(iterate_spread(self.space, self.seed, self.bounds)):
            if place >= number and self._key(arch) not in seen:
                return arch
            passed.append(arch)
        if not passed:
            raise ConfigError(
                f"no architecture of {self.space.name!r} found within {self.bounds}: widen the "
                "bounds"
            )
        left = [arch for arch in passed if self._key(arch) not in seen] or passed
        return left[number % len(left)]


def _arch_of(space: SearchSpace, trial: FrozenTrial) -> dict[str, Any] | None:
    try:
        return from_params(space, trial.params)
    except ArchError:
        return None  # another worker is just about to say what it measures


def _keys(space: SearchSpace, trials: Sequence[FrozenTrial]) -> set[bytes]:
    """Keys of the networks of trials."""
    archs = [arch for trial in trials if (arch := _arch_of(space, trial)) is not None]
    return set(space.network_keys(space.encode(archs)))


class HypercubeSampler(_ProposesArchitectures, BaseSampler):  # type: ignore[misc]
    """Latin hypercubes over the space, evened out over sizes; looks at no result.

    Args:
        space: The search space.
        seed: Same seed, same architectures in the same order.
        bounds: What is proposed; none = everything.
    """

    def __init__(self, space: SearchSpace, seed: int = 0, bounds: SizeBounds | None = None) -> None:
        self.space, self.seed, self.bounds = space, seed, bounds or SizeBounds()

    def propose(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """The architecture at the trial's place, or the next one that no trial has."""
        return self.from_hypercube(trial.number, self.seen(study, trial))


class AnalogNASSampler(_ProposesArchitectures, BaseGASampler):  # type: ignore[misc]
    """The evolution of AnalogNAS (Benmeziane et al. 2023, arXiv:2305.10459) on an Optuna study.

    The first generation is a Latin hypercube. Later ones are children of the best
    ``population_size`` trials before them: two parents by binary tournament, crossover, then a
    mutation of width, depth or the rest (chances 0.4, 0.4, 0.2). No architecture is proposed
    twice while there are others. A proposal is a function of the seed, the study's trials and the
    trial's number.

    Args:
        space: The search space.
        seed: Of all proposals.
        population_size: Architectures of a generation.
        bounds: What is proposed; none = everything.
        crossover_prob: Chance that a child mixes two parents.
        mutation_prob: Chance that a child of two parents is mutated; one of a single parent always
            is.

    Raises:
        ConfigError: a value that is not allowed.

    Example:
        ``optuna.create_study(direction="maximize", sampler=AnalogNASSampler(space))``, with
        :func:`~nasseg.search.suggest` in the objective.
    """

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        population_size: int = POPULATION,
        bounds: SizeBounds | None = None,
        crossover_prob: float = 0.5,
        mutation_prob: float = 0.8,
    ) -> None:
        if population_size < 2:
            raise ConfigError(f"population_size is {population_size!r}; allowed: 2 or more")
        for name, value in (("crossover_prob", crossover_prob), ("mutation_prob", mutation_prob)):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value!r}; allowed: 0 to 1")
        super().__init__(population_size)
        self.space, self.seed, self.bounds = space, seed, bounds or SizeBounds()
        self.crossover_prob = crossover_prob
        self.mutation_prob = mutation_prob

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The best trials of the generation before and of its parents, best first."""
        pool = self.get_population(study, generation - 1)
        pool += self.get_parent_population(study, generation - 1)
        return _best_first(pool, study)[: self.population_size]

    def propose(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """A child of the trial's generation that no trial has had."""
        seen = self.seen(study, trial)
        generation = self.get_trial_generation(study, trial)
        parents = [
            arch
            for parent in _best_first(self.get_parent_population(study, generation), study)
            if (arch := _arch_of(self.space, parent)) is not None
        ]
        if not parents:
            return self.from_hypercube(trial.number, seen)
        rng = np.random.default_rng([self.seed, 2, trial.number])
        X, domain = self.space.encode(parents), SpaceDomain(self.space)
        for _ in range(ROUNDS):
            chances = self.crossover_prob, self.mutation_prob
            children = offspring(domain, X, CHILDREN, rng, *chances)
            children = children[self.bounds.within(self.space, children)]
            for place, key in enumerate(self.space.network_keys(children)):
                if key not in seen:
                    return self.space.decode(children[[place]])[0]
        return self.from_hypercube(trial.number, seen)


class SurrogateSampler(_ProposesArchitectures, BaseSampler):  # type: ignore[misc]
    """Surrogate-assisted search: an ensemble fitted to the finished trials says what is next.

    :class:`~nasseg.search.measured.strategies.SurrogateAssisted` on an Optuna study; what is under
    way counts as known, so that many workers measure different things. The first generation is a
    Latin hypercube; where something is known of the space beforehand, all of it but one are the
    most promising by that.

    Args:
        space: The search space.
        seed: Of all proposals.
        bounds: What is proposed; none = everything.
        initial: Architectures of the first generation.
        low_fidelity: What short trainings of architectures of the space have shown.
    """

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        bounds: SizeBounds | None = None,
        initial: int = INITIAL,
        low_fidelity: LowFidelity | None = None,
    ) -> None:
        self.space, self.seed, self.bounds = space, seed, bounds or SizeBounds()
        self.initial = initial
        self.low_fidelity = low_fidelity

    def propose(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """The most promising architecture that no trial has."""
        promising = self.low_fidelity is not None and trial.number != COVERING
        if trial.number < self.initial and not promising:
            return self.from_hypercube(trial.number, self.seen(study, trial))
        rng = np.random.default_rng([self.seed, 5, trial.number])
        try:
            strategy, history = self._strategy(), self._history(study, trial.number)
            ask = strategy.promising if trial.number < self.initial else strategy.propose
            X = ask(history, 1, rng)
        except ConfigError:
            # Everything within the bounds is known; what is left to say, the hypercube says.
            return self.from_hypercube(trial.number, self.seen(study, trial))
        return self.space.decode(X)[0]

    def expected_gain(self, study: Study, number: int) -> float:
        """By how much trial ``number`` is expected to beat the best there is, in units of the
        value; infinite while there is too little to go by."""
        rng = np.random.default_rng([self.seed, 6, number])
        return self._strategy().expected_gain(self._history(study, number), rng)

    def _strategy(self) -> SurrogateAssisted:
        bounds = self.bounds
        channels = bounds.in_channels, bounds.out_channels
        features = Features(self.space, *channels, self.low_fidelity)
        domain = SpaceDomain(
            self.space,
            lambda X: bounds.within(self.space, X),
            features.matrix,
            features.groups,
        )
        return SurrogateAssisted(domain, self.initial, trend=features.trend)

    def _history(self, study: Study, number: int) -> History:
        done, scores, rest = [], [], []
        sign = _sign(study)
        for other in study.get_trials(deepcopy=False):
            arch = None if other.number == number else _arch_of(self.space, other)
            if arch is None:
                continue
            if other.state == TrialState.COMPLETE and other.value is not None:
                done.append(arch)
                scores.append(sign * other.value)
            elif other.state == TrialState.FAIL:
                done.append(arch)
                scores.append(np.nan)
            else:
                rest.append(arch)
        encode = self.space.encode
        return History(encode(done), np.array(scores), encode(rest))


def _sign(study: Study) -> int:
    """1 for a study that maximises, -1 for one that minimises."""
    if len(study.directions) != 1:
        raise ConfigError(
            f"the study has {len(study.directions)} directions; these samplers take one, to "
            "maximise or to minimise"
        )
    return 1 if study.direction == StudyDirection.MAXIMIZE else -1


def _best_first(trials: Sequence[FrozenTrial], study: Study) -> list[FrozenTrial]:
    """Finished trials, the best value first; of equal ones the earlier."""
    sign = _sign(study)
    done = [t for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    return sorted(done, key=lambda t: (-sign * (t.value or 0.0), t.number))


# --- by name --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """What one proposal is made for."""

    space: SearchSpace
    """The search space."""
    seed: int
    """The study's seed."""
    slot: int
    """Place in the study, from 0; the number of the trial that asks."""
    bounds: SizeBounds
    """What may be proposed; a sampler that does not know them is asked again."""
    low_fidelity: LowFidelity | None = None
    """What short trainings of the space have shown, for samplers that make use of it."""


@dataclass(frozen=True)
class SamplerEntry:
    """A sampler by name."""

    make: Callable[[Request], BaseSampler]
    """A fresh sampler for one proposal."""
    attempts: int = 64
    """Times it is asked for one that is new and within the bounds, before one is drawn at
    random."""
    penalise: bool = False
    """Whether a proposal that is neither counts, in that proposal, as the worst value: a sampler
    that models values would else make the same one again."""


_FACTORY = factories("sampler", "a function from a Request to an Optuna sampler, or a SamplerEntry")


def _adopt(name: str, made: Any) -> SamplerEntry:
    """What a plug-in gives as an entry: one, or what :func:`register_sampler` decorates."""
    return made if isinstance(made, SamplerEntry) else SamplerEntry(_FACTORY(name, made))


SAMPLERS: Registry[SamplerEntry] = Registry("sampler", group="nasseg.samplers", adopt=_adopt)
"""Samplers of measured studies by name."""


def register_sampler(
    name: str, *, attempts: int = 64, penalise: bool = False
) -> Callable[[Callable[[Request], BaseSampler]], Callable[[Request], BaseSampler]]:
    """Add a sampler to :data:`SAMPLERS`.

    Example:
        .. code-block:: python

            @register_sampler("mine")
            def _mine(request: Request) -> BaseSampler:
                return MySampler(request.space, request.seed, request.bounds)
    """

    def add(make: Callable[[Request], BaseSampler]) -> Callable[[Request], BaseSampler]:
        SAMPLERS.register(name, SamplerEntry(make, attempts, penalise))
        return make

    return add


def list_samplers() -> list[str]:
    """Names of the samplers of measured studies, sorted."""
    return SAMPLERS.names()


def _optuna_seed(seed: int, slot: int) -> int:
    """A seed of its own for every proposal, below 2**31 as Optuna's samplers want it."""
    return int(np.random.SeedSequence([seed, 3, slot]).generate_state(1)[0]) >> 1


# These three know by themselves what is new and within the bounds.
@register_sampler("analognas", attempts=8)
def _analognas(request: Request) -> BaseSampler:
    return AnalogNASSampler(request.space, request.seed, bounds=request.bounds)


@register_sampler("lhs", attempts=8)
def _lhs(request: Request) -> BaseSampler:
    return HypercubeSampler(request.space, request.seed, request.bounds)


def _surrogate_sampler(request: Request) -> SurrogateSampler:
    known = request.low_fidelity
    return SurrogateSampler(request.space, request.seed, request.bounds, low_fidelity=known)


@register_sampler("surrogate", attempts=8)
def _surrogate(request: Request) -> BaseSampler:
    return _surrogate_sampler(request)


@register_sampler("random")
def _random(request: Request) -> BaseSampler:
    return RandomSampler(_optuna_seed(request.seed, request.slot))


@register_sampler("tpe", penalise=True)
def _tpe(request: Request) -> BaseSampler:
    return TPESampler(seed=_optuna_seed(request.seed, request.slot))


@register_sampler("nsgaii")
def _nsgaii(request: Request) -> BaseSampler:
    seed = _optuna_seed(request.seed, request.slot)
    return NSGAIISampler(population_size=POPULATION, seed=seed)


@register_sampler("gp", attempts=8, penalise=True)
def _gp(request: Request) -> BaseSampler:
    # Conditional parameters are outside its model, by design; it would warn of each of them.
    return GPSampler(seed=_optuna_seed(request.seed, request.slot), warn_independent_sampling=False)


# --- one proposal ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Proposal:
    """What is measured next."""

    arch: dict[str, Any]
    """Canonical."""
    system_attrs: dict[str, Any]
    """What the sampler remembers of it (the generation)."""


def propose(
    name: str,
    request: Request,
    history: Sequence[FrozenTrial],
    taken: Collection[str] = (),
) -> Proposal:
    """Ask a sampler for an architecture that is new and within the bounds.

    Args:
        name: of the sampler.
        request: space, seed, slot and bounds.
        history: the trials of all slots before this one, in order: finished, failed, and those
            under way with their parameters.
        taken: ids of further architectures that are not to be proposed.

    Returns:
        The proposal: a function of the arguments. It is none of ``history`` or ``taken`` while
        the space has others within the bounds.

    Raises:
        UnknownName: no such sampler.
        ConfigError: no architecture is within the bounds.
    """

    entry = SAMPLERS[name]
    space = request.space
    # Asked in a copy in memory, where proposals that cannot be measured leave no trace.
    copy = optuna.create_study(direction="maximize", sampler=entry.make(request))
    copy.add_trials(history)
    values = [t.value for t in history if t.state == TrialState.COMPLETE and t.value is not None]
    worst = min(values, default=0.0)
    seen = {*taken, *(i for t in history if (i := t.user_attrs.get("arch_id")) is not None)}
    networks = _keys(space, history)
    again: dict[str, Any] | None = None
    attrs: dict[str, Any] = {}
    for _ in range(entry.attempts):
        trial = copy.ask()
        arch = suggest(trial, space)
        attrs = dict(copy.get_trials(deepcopy=False)[-1].system_attrs)
        X = space.encode([arch])
        if request.bounds.within(space, X)[0]:
            if space.arch_id(arch) not in seen and space.network_keys(X)[0] not in networks:
                return Proposal(arch, attrs)
            again = again or arch
        if entry.penalise:
            copy.tell(trial, worst)
        else:
            copy.tell(trial, state=TrialState.FAIL)
    return Proposal(_at_random(request, seen, networks, again), attrs)


def expected_gain(request: Request, history: Sequence[FrozenTrial]) -> float:
    """By how much the surrogate expects the next architecture to beat the best one measured.

    Args:
        request: space, seed, slot and bounds.
        history: as :func:`propose` takes it.
    """
    copy = optuna.create_study(direction="maximize")
    copy.add_trials(history)
    return _surrogate_sampler(request).expected_gain(copy, len(history))


def _at_random(
    request: Request, seen: set[str], networks: set[bytes], again: dict[str, Any] | None
) -> dict[str, Any]:
    """A new architecture within the bounds; where there seems to be none, ``again``."""
    space = request.space
    rng = np.random.default_rng([request.seed, 4, request.slot])
    for _ in range(ROUNDS):
        X = space.sample_matrix(512, rng)
        X = X[request.bounds.within(space, X)]
        for arch, key in zip(space.decode(X), space.network_keys(X), strict=True):
            if space.arch_id(arch) not in seen and key not in networks:
                return arch
            again = again or arch
    if again is None:
        raise ConfigError(
            f"no architecture of {space.name!r} found within {request.bounds}: widen the bounds"
        )
    return again
