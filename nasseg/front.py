"""Start or continue a run from Python, on a folder of images or on arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasseg._registry import allow, did_you_mean, is_reference
from nasseg.config import RunConfig, aliases, flatten, settings
from nasseg.errors import ConfigError
from nasseg.records.resolve import resolve_config

if TYPE_CHECKING:
    import pandas as pd

    from nasseg.data import Arrays
    from nasseg.network import Network

__all__ = ["Run", "run"]


@dataclass(frozen=True)
class Run:
    """A run folder, as far as its stages have come."""

    folder: Path
    """Run folder."""
    config: RunConfig
    """Its settings."""
    summary: dict[str, Any]
    """Content of ``summary.json``: scores of the digital and the aged network."""

    def network(self, *, device: str = "auto") -> Network:
        """Return the trained network.

        Raises:
            RunError: it is not trained yet.
        """
        from nasseg.network import load

        return load(self.folder, device=device)

    @property
    def drift(self) -> pd.DataFrame:
        """Scores of every chip: ``chip``, ``time_s``, ``recalibrated`` and the metrics."""
        import pandas as pd

        from nasseg.records.drift import DriftTable

        return pd.DataFrame(DriftTable.read(self.folder / "drift.csv", missing_ok=True).to_rows())

    @property
    def report(self) -> Path | None:
        """The HTML report; None before the last stage."""
        path = self.folder / "report.html"
        return path if path.is_file() else None


def run(
    data: str | Path | Arrays | Mapping[str, Any] | None = None,
    *,
    out: str | Path | None = None,
    config: str | Path | None = None,
    stages: str | Sequence[str] | None = None,
    progress: bool = True,
    **changes: Any,
) -> Run:
    """Search, train, put onto chips, let drift and report; the same call continues a folder.

    Args:
        data: folder of images and labels; or ``(images, labels)`` arrays, or a mapping of splits
            (``train``, ``val``) to these; or a mapping of settings of the section ``data``; None:
            what ``config`` or the folder names, or built-in synthetic images.
        out: run folder; None: as on the command line without ``--out``.
        config: YAML file of settings; those given here go before it. None: the settings of the
            folder, where it has any.
        stages: stages to run, or one of them: ``search``, ``train``, ``analog``, ``drift`` and
            ``report``; None: all.
        progress: show bars.
        changes: settings, as on the command line: ``seed=1``, ``crop=128`` (short names),
            ``train={"lr": 1e-3}`` (a section), or ``**{"analog.spec.adc_bits": 6}``.

    Returns:
        The run, with its summary and its network.

    Raises:
        ConfigError: an unknown setting, or a value that is not allowed.
        RunError: the folder holds another run or other arrays, is in use, or is damaged.
        DataError: the images cannot be used.

    Example:
        >>> run = nasseg.run("my_nuclei/", out="runs/mine", crop=128)             # doctest: +SKIP
        >>> run.network().predict(image).labels                                  # doctest: +SKIP
    """
    given = _settings(changes if out is None else {**changes, "out": out})
    arrays: Arrays | None = None
    if isinstance(data, str | Path):
        given["data.path"] = str(data)
    elif isinstance(data, Mapping) and not any(isinstance(v, tuple) for v in data.values()):
        given |= _settings({"data": data})
    elif data is not None:
        arrays = data
        given |= {"data.path": None, "data.source": "arrays"}
    for value in given.values():
        if isinstance(value, str) and is_reference(value):
            allow(value)
    made = resolve_config(RunConfig, given, config)
    from nasseg import pipeline

    chosen = [stages] if isinstance(stages, str) else stages
    summary = pipeline.run(made, stages=chosen, progress=progress, arrays=arrays)
    return Run(Path(made.out), made, summary)


def _settings(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted keys to values for settings named as on the command line.

    Raises:
        ConfigError: a name that is no setting.
    """
    leaves, short = settings(RunConfig), aliases(RunConfig)
    found: dict[str, Any] = {}
    for key, value in flatten(changes).items():
        name = short.get(key, key)
        if name not in leaves:
            raise ConfigError(f"no setting {key!r}{did_you_mean(key, {*leaves, *short})}")
        found[name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    """Return a value in Python's own type: a path as text, numpy's numbers as numbers."""
    if isinstance(value, Path):
        return str(value)
    # Asked by name, since numpy is not imported for this.
    return value.tolist() if hasattr(value, "tolist") else value
