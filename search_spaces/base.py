"""A search space: architectures as plain dicts, and networks built from them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nasseg._registry import near_name, nearest
from nasseg.errors import ArchError
from nasseg.search_spaces._protocol import AnalogNASProtocol
from nasseg.search_spaces._schema import Encoded, Indices, Schema
from nasseg.search_spaces.constants import MIN_INPUT
from nasseg.search_spaces.diagram import Diagram
from nasseg.search_spaces.hyperparameters import INACTIVE, Hyperparameter, Value
from nasseg.search_spaces.layers import LayerTable

if TYPE_CHECKING:
    from torch import nn

Arch = dict[str, Any]
"""An architecture: hyperparameter name to value, JSON-able."""

Columns = dict[str, NDArray[Any]]
"""Hyperparameter name to its values in a population, (n,)."""

BLOCK = 2048
"""Rows described at a time."""
COUNTED_SIZE = (64, 64)
"""Image at which costs per pixel are counted: it divides by the downsampling of our networks."""


class SearchSpace(AnalogNASProtocol):
    """A finite set of architectures over conditional hyperparameters.

    An architecture is *canonical* when it has every hyperparameter of the space and those that do
    not matter (a stage that is not there) are 0. Equal canonical forms are equal networks, so
    hashes, caches and counts use that form; :meth:`network_keys` tells where different ones build
    the same network all the same.

    A subclass gives ``base_name``, ``version``, ``base_hyperparameters`` and ``_network``.

    Args:
        seed: seeds the generator behind :meth:`sample_arch_uniformly`, the one method that, by
            AnalogNAS's protocol, is not handed a generator.
    """

    base_name: str = ""
    version: int = 1
    """Raised whenever the same architecture would mean another network."""
    base_hyperparameters: tuple[Hyperparameter, ...] = ()

    signed: frozenset[str] = frozenset()
    """Hyperparameters that :meth:`_network_signature` stands for; of the others every choice counts
    as another network."""

    task: str = "segmentation"
    """What the networks of this space do: ``segmentation`` or ``classification``."""

    def __init__(self, seed: int = 0) -> None:
        self._schema = Schema(self.base_hyperparameters)
        self._fixed: dict[str, Value] = {}
        self._added: dict[str, Hyperparameter] = {}
        self._removed: frozenset[str] = frozenset()
        self.seed(seed)

    def __repr__(self) -> str:
        return f"<SearchSpace {self.name} v{self.version}: {len(self.feature_names)} features>"

    @property
    def name(self) -> str:
        """The registered name; with "-custom" after it once hyperparameters were edited."""
        edited = self._added or self._removed
        return f"{self.base_name}-custom" if edited else self.base_name

    @property
    def feature_names(self) -> list[str]:
        """Names of the columns of an encoded architecture, in order."""
        return list(self._schema.names)

    @property
    def hyperparameters(self) -> tuple[Hyperparameter, ...]:
        """The hyperparameters, parents before the ones they govern."""
        return self._schema.hyperparameters

    def size(self) -> int:
        """Exact number of architectures in the space."""
        return self._schema.size()

    def enumerate(self) -> Iterator[Arch]:
        """Every architecture once, canonical, one after another: the first hyperparameter changes
        slowest. Of use where :meth:`size` is small."""
        for row in self._schema.every():
            yield self._dicts(row[None])[0]

    # -- one architecture -------------------------------------------------------------------

    def default(self) -> Arch:
        """The architecture of the default values: a plain, solid member of the space."""
        row = np.array([[h.closest(h.default) for h in self.hyperparameters]], dtype=np.intp)
        return self._dicts(self._schema.settle(row, row))[0]

    def validate(self, arch: Mapping[str, Any]) -> None:
        """Accept canonical architectures of this space only.

        Raises:
            ArchError: an unknown key (with the nearest match), a missing key, or a value that is
                not allowed; the message names the key, the value and what is allowed.
        """
        self._known_keys(arch)
        row = self._indices([arch])[0]
        for j, h in enumerate(self.hyperparameters):
            if h.name not in arch:
                raise ArchError(f"{self.name}: {h.name} is missing; {self._schema.allowed(row, j)}")
            value = arch[h.name]
            if not row[j] and (isinstance(value, bool | str) or value != INACTIVE):
                raise ArchError(
                    f"{self.name}: {h.name} cannot be {value!r}; {self._schema.allowed(row, j)}"
                )

    def canonical(self, arch: Mapping[str, Any]) -> Arch:
        """The canonical form: inactive hyperparameters (given or not) are 0, keys in order.

        Raises:
            ArchError: as :meth:`validate`, for keys that are unknown and for active
                hyperparameters that are missing or have a value that is not allowed.
        """
        return self._dicts(self._indices([arch]))[0]

    def repair(self, arch: Mapping[str, Any]) -> Arch:
        """The nearest canonical architecture: for mixtures of two, as AnalogNAS's search makes.

        Missing and impossible values become the nearest choice (the default of categorical ones).

        Raises:
            ArchError: an unknown key.
        """
        self._known_keys(arch)
        row = []
        for h in self.hyperparameters:
            value = arch.get(h.name)
            # 0 in a conditional hyperparameter says "was inactive", not "make it small".
            unset = value is None or (bool(h.conditions) and value == INACTIVE)
            row.append(h.closest(h.default if unset else value))
        indices = np.array([row], dtype=np.intp)
        return self._dicts(self._schema.settle(indices, indices))[0]

    def arch_id(self, arch: Mapping[str, Any]) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the canonical JSON."""
        text = json.dumps(self.canonical(arch), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_json(self, arch: Mapping[str, Any]) -> str:
        """The canonical form as one line of JSON."""
        return json.dumps(self.canonical(arch))

    def from_json(self, text: str) -> Arch:
        """The canonical architecture that ``text`` describes.

        Raises:
            ArchError: not JSON, not an object, or not an architecture of this space.
        """
        try:
            arch = json.loads(text)
        except json.JSONDecodeError as e:
            raise ArchError(f"{self.name}: not JSON: {e}") from None
        if not isinstance(arch, dict):
            raise ArchError(f"{self.name}: an architecture is a JSON object; got {arch!r}")
        return self.canonical(arch)

    def sample(self, rng: np.random.Generator) -> Arch:
        """One architecture: every hyperparameter uniform and independent, then made canonical."""
        return self._dicts(self._schema.draw(1, rng))[0]

    def sample_lhs(self, n: int, rng: np.random.Generator) -> list[Arch]:
        """``n`` architectures by Latin hypercube: each choice of each hyperparameter comes up
        equally often, to within two, before inactive ones are set to 0."""
        return self._dicts(self._schema.draw_lhs(_count(n), rng))

    def mutate(
        self, arch: Mapping[str, Any], rng: np.random.Generator, kind: str | None = None
    ) -> Arch:
        """A valid, different architecture; ``arch`` is left as it is. See :meth:`mutate_matrix`."""
        return self._dicts(self._schema.mutate(self._indices([arch]), rng, kind))[0]

    def crossover(
        self, a: Mapping[str, Any], b: Mapping[str, Any], rng: np.random.Generator
    ) -> Arch:
        """A valid child of two architectures. See :meth:`crossover_matrix`."""
        return self._dicts(self._schema.crossover(self._indices([a]), self._indices([b]), rng))[0]

    # -- populations ------------------------------------------------------------------------

    def encode(self, archs: Iterable[Mapping[str, Any]]) -> Encoded:
        """Architectures to float32 (n, F): numbers as they are, strings as their position from 1,
        inactive as 0. Columns are :attr:`feature_names`.

        Raises:
            ArchError: as :meth:`canonical`.
        """
        return self._schema.encode(self._indices(list(archs)))

    def decode(self, matrix: object) -> list[Arch]:
        """Encoded rows (n, F) back to architectures.

        Raises:
            ArchError: wrong shape, or a row that is not a canonical architecture (row, column,
                value and what is allowed are named).
        """
        return self._dicts(self._schema.decode(matrix))

    def sample_matrix(self, n: int, rng: np.random.Generator) -> Encoded:
        """``n`` uniform samples, encoded: float32 (n, F)."""
        return self._schema.encode(self._schema.draw(_count(n), rng))

    def sample_lhs_matrix(self, n: int, rng: np.random.Generator) -> Encoded:
        """``n`` Latin-hypercube samples, encoded: float32 (n, F)."""
        return self._schema.encode(self._schema.draw_lhs(_count(n), rng))

    def mutate_matrix(
        self, X: object, rng: np.random.Generator, kind: str | None = None
    ) -> Encoded:
        """One mutant of every row of ``X`` (n, F); each is valid and differs from its parent.

        ``kind`` "width" changes initial channels and widening factors, "depth" the number of
        stages and of blocks, "other" the rest; None chooses per row with chances 0.4, 0.4, 0.2.
        Hyperparameters of other kinds keep their value, except that those of a stage that
        disappears become 0 and those of a new stage are drawn at random.

        Raises:
            ArchError: unknown kind, a row that is not canonical, or nothing of that kind to change.
        """
        return self._schema.encode(self._schema.mutate(self._schema.decode(X), rng, kind))

    def crossover_matrix(self, A: object, B: object, rng: np.random.Generator) -> Encoded:
        """Row-wise uniform crossover of two encoded populations of equal shape (n, F).

        A hyperparameter that is active in the child has the value of one of its parents wherever
        one of them has it active, and is drawn at random otherwise.

        Raises:
            ArchError: shapes differ, or a row that is not canonical.
        """
        a, b = self._schema.decode(A), self._schema.decode(B)
        if a.shape != b.shape:
            raise ArchError(f"crossover needs equal shapes; got {a.shape} and {b.shape}")
        return self._schema.encode(self._schema.crossover(a, b, rng))

    # -- networks ---------------------------------------------------------------------------

    def build(
        self,
        arch: Mapping[str, Any],
        in_channels: int = 3,
        out_channels: int = 1,
        *,
        seed: int = 0,
    ) -> nn.Module:
        """The network of ``arch``, on the CPU, in training mode, with weights drawn from ``seed``.

        The global random state of torch is left as it was. The module carries ``arch`` (canonical),
        ``arch_id`` and ``space`` (this space's name).

        Raises:
            ArchError: ``arch`` is not of this space, or a channel number is not positive.
        """
        canonical = self.canonical(arch)
        for key, value in (("in_channels", in_channels), ("out_channels", out_channels)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ArchError(
                    f"cannot build {self.name}/{self.arch_id(arch)}: {key} must be a positive "
                    f"integer; got {value!r}"
                )
        import torch

        # fork_rng keeps the caller's CPU stream; the generator is seeded directly because
        # torch.manual_seed would reseed the accelerators too.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            network = self._network({**self._fixed, **canonical}, in_channels, out_channels)
        network.arch = canonical  # type: ignore[assignment]
        network.arch_id = self.arch_id(canonical)  # type: ignore[assignment]
        network.space = self.name  # type: ignore[assignment]
        return network

    def diagram(self, arch: Mapping[str, Any]) -> Diagram | None:
        """A drawing of a canonical architecture for reports; None: the space has none."""
        return None

    def count_params(
        self, matrix: object, in_channels: int = 3, out_channels: int = 1
    ) -> NDArray[np.int64]:
        """Trainable parameters of the networks of encoded architectures (n, F), as int64 (n,).

        Our own spaces compute it without building anything (and without torch), for constraints on
        whole populations; a space without a formula builds every network.

        Raises:
            ArchError: as :meth:`decode`.
        """
        indices = self._schema.decode(matrix)
        columns = self._columns(indices)
        counted = self._count_params(columns, in_channels, out_channels)
        if counted is not None:
            return counted.astype(np.int64)
        networks = (self.build(a, in_channels, out_channels) for a in self._dicts(indices))
        return np.array([sum(p.numel() for p in n.parameters()) for n in networks], dtype=np.int64)

    def count_macs_per_pixel(
        self, matrix: object, in_channels: int = 3, out_channels: int = 1
    ) -> NDArray[np.float64]:
        """Multiply-accumulates of the convolutions per pixel of the input image, as float64 (n,).

        What a training step costs grows with it, whatever the image size. Exact where the size
        divides by the total downsampling. Our own spaces compute it without building anything; a
        space without a formula runs every network at 64 x 64.

        Raises:
            ArchError: as :meth:`decode`.
        """
        indices = self._schema.decode(matrix)
        counted = self._count_macs_per_pixel(self._columns(indices), in_channels, out_channels)
        if counted is not None:
            return counted.astype(np.float64)
        import torch

        from nasseg._macs import count_macs

        example = torch.zeros((1, in_channels, *COUNTED_SIZE))
        networks = (self.build(a, in_channels, out_channels) for a in self._dicts(indices))
        return np.array(
            [sum(count_macs(n, example).values()) / math.prod(COUNTED_SIZE) for n in networks]
        )

    def layer_table(
        self,
        matrix: object,
        in_channels: int = 3,
        out_channels: int = 1,
        input_size: tuple[int, int] = (64, 64),
    ) -> LayerTable | None:
        """The weight layers of the networks of encoded architectures (n, F), by formula.

        What networks cost follows from it without building any; it agrees with what is counted on
        the built ones. None for a space that has no such formula.

        Args:
            matrix: Encoded architectures.
            in_channels: Image channels.
            out_channels: Output channels.
            input_size: Height and width of the image in pixels.

        Raises:
            ArchError: as :meth:`decode`, or an image smaller than the networks accept.
        """
        if min(input_size) < MIN_INPUT:
            raise ArchError(
                f"{self.name}: input_size is {tuple(input_size)!r}; "
                f"allowed: height and width of {MIN_INPUT} or more"
            )
        columns = self._columns(self._schema.decode(matrix))
        return self._layers(columns, in_channels, out_channels, input_size)

    def describe_matrix(
        self, matrix: object, in_channels: int = 3, out_channels: int = 1
    ) -> dict[str, NDArray[np.float64]]:
        """What follows from encoded architectures (n, F) and says more than single
        hyperparameters do: name to float64 (n,), for surrogates.

        The logarithms of parameters (``log_params``) and of multiply-accumulates per pixel
        (``log_macs``), and what the space adds.

        Raises:
            ArchError: as :meth:`decode`.
        """
        X = np.asarray(matrix)
        # In blocks that stay in a processor's cache, which is four times as fast for populations
        # of a hundred thousand.
        starts = range(0, max(1, len(X)), BLOCK)
        parts = [self._described(X[i : i + BLOCK], in_channels, out_channels) for i in starts]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _described(
        self, block: object, in_channels: int, out_channels: int
    ) -> dict[str, NDArray[np.float64]]:
        columns = self._columns(self._schema.decode(block))
        table = self._layers(columns, in_channels, out_channels, COUNTED_SIZE)
        if table is None:
            params = self.count_params(block, in_channels, out_channels)
            macs = self.count_macs_per_pixel(block, in_channels, out_channels)
        else:
            params, macs = table.params(), table.macs() / math.prod(COUNTED_SIZE)
        found = {
            "log_params": np.log(np.maximum(params, 1)),
            "log_macs": np.log(np.maximum(macs, 1e-9)),
            **self._describe(columns),
        }
        return {name: np.asarray(values, dtype=np.float64) for name, values in found.items()}

    def _describe(self, columns: Columns) -> Columns:
        """What the space adds to :meth:`describe_matrix`, from the values of each hyperparameter,
        (n,) each."""
        return {}

    def network_keys(self, matrix: object) -> list[bytes]:
        """A key for each of the encoded architectures (n, F); with equal keys, they build equal
        networks from a seed.

        Two blocks after one are three blocks, whatever stage they are counted to. A search that
        measures need not measure that twice.

        Raises:
            ArchError: as :meth:`decode`.
        """
        indices = self._schema.decode(matrix)
        # What a signature knows nothing of, such as a hyperparameter that was added, may matter.
        rest = [h.name not in self.signed for h in self.hyperparameters]
        rows = indices[:, rest].astype(np.int64)
        if self.signed:
            told = self._network_signature(self._columns(indices))
            rows = np.column_stack([rows, *told]).astype(np.int64)
        return [row.tobytes() for row in np.ascontiguousarray(rows)]

    def _network_signature(self, columns: Columns) -> list[NDArray[Any]]:
        """Whole numbers, (n,) each, that say of the hyperparameters ``signed`` what they build,
        from the values of each hyperparameter."""
        raise NotImplementedError

    def _columns(self, indices: Indices) -> Columns:
        columns: Columns = {
            name: np.full(len(indices), value) for name, value in self._fixed.items()
        }
        for j, h in enumerate(self.hyperparameters):
            inactive = "" if h.strings else INACTIVE
            columns[h.name] = np.array([inactive, *h.choices])[indices[:, j]]
        return columns

    def _layers(
        self, columns: Columns, in_channels: int, out_channels: int, input_size: tuple[int, int]
    ) -> LayerTable | None:
        """:meth:`layer_table` from the values of each hyperparameter, (n,) each; None = no formula.

        A space that has it need not define the two methods below.
        """
        return None

    def _count_params(
        self, columns: Columns, in_channels: int, out_channels: int
    ) -> NDArray[Any] | None:
        """Parameters from the values of each hyperparameter, (n,) each; None = no formula."""
        table = self._layers(columns, in_channels, out_channels, COUNTED_SIZE)
        return None if table is None else table.params()

    def _count_macs_per_pixel(
        self, columns: Columns, in_channels: int, out_channels: int
    ) -> NDArray[Any] | None:
        """As :meth:`_count_params`, of multiply-accumulates per input pixel; None = no formula."""
        table = self._layers(columns, in_channels, out_channels, COUNTED_SIZE)
        return None if table is None else table.macs() / math.prod(COUNTED_SIZE)

    def _network(self, arch: Arch, in_channels: int, out_channels: int) -> nn.Module:
        raise NotImplementedError(f"{type(self).__name__} does not say how to build a network")

    # -- dicts and indices ------------------------------------------------------------------

    def _known_keys(self, arch: Mapping[str, Any]) -> None:
        if not isinstance(arch, Mapping):
            raise ArchError(f"{self.name}: an architecture is a dict; got {type(arch).__name__}")
        for key in arch:
            if key not in self._schema.column:
                hint = near_name(str(key), self._schema.names)
                raise ArchError(
                    f"{self.name}: unknown hyperparameter {key!r} = {arch[key]!r}{hint} "
                    f"(known: {', '.join(self._schema.names)})"
                )

    def _indices(self, archs: Sequence[Mapping[str, Any]]) -> Indices:
        names = self._schema.names
        raw = np.zeros((len(archs), len(names)), dtype=np.intp)
        wrong: list[tuple[int, int]] = []
        for i, arch in enumerate(archs):
            self._known_keys(arch)
            for j, h in enumerate(self.hyperparameters):
                found = h.index(arch[h.name]) if h.name in arch else None
                if found is None:
                    wrong.append((i, j))
                else:
                    raw[i, j] = found
        indices = self._schema.settle(raw, raw)
        if wrong:
            # A value counts as wrong only where it matters. The parents come first, so that the
            # first complaint of a row never follows from an earlier one.
            active = self._schema.active(indices)
            for i, j in wrong:
                if active[i, j]:
                    label = self.name if len(archs) == 1 else f"{self.name}, number {i}"
                    given = names[j] in archs[i]
                    said = f"cannot be {archs[i][names[j]]!r}" if given else "is missing"
                    if given and isinstance(value := archs[i][names[j]], str):
                        near = nearest(value, map(str, self.hyperparameters[j].choices))
                        said += f", did you mean {near!r}?" if near else ""
                    raise ArchError(
                        f"{label}: {names[j]} {said}; {self._schema.allowed(indices[i], j)}"
                    )
        return indices

    def _dicts(self, indices: Indices) -> list[Arch]:
        names = self._schema.names
        tables = [(INACTIVE, *h.choices) for h in self.hyperparameters]
        return [
            {name: table[k] for name, table, k in zip(names, tables, row, strict=True)}
            for row in indices.tolist()
        ]


def _count(n: int) -> int:
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
        raise ArchError(f"the number of architectures must be an integer >= 0; got {n!r}")
    return int(n)
