"""A run folder: its settings, which stages are done, how long they took, one process at a time."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from filelock import FileLock, Timeout

from nasseg.config import LabelConfig, RunConfig, settings, to_dict
from nasseg.config.identity import changes, older_values
from nasseg.errors import RunError
from nasseg.io import write_json, write_text
from nasseg.readers import read_json
from nasseg.records.plugins import PLUGINS, remember_plugins, used_plugins
from nasseg.records.storage import without_password

log = logging.getLogger(__name__)

C = TypeVar("C", RunConfig, LabelConfig)


def is_bound(folder: Path) -> bool:
    """Return True if the images of a folder have been found good, so that its settings hold."""
    try:
        return "data" in read_json(folder / "stages.json")
    except (OSError, ValueError, TypeError):
        return False


def older_settings(config: RunConfig | LabelConfig) -> dict[str, Any]:
    """Return, by key, what the version did that began a folder, where it lacked the settings.

    Only those are among them whose default does something else.
    """
    folder = Path(config.out)
    try:
        saved = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return {}  # an error of whoever reads it
    known = isinstance(saved, dict) and is_bound(folder)
    return older_values(saved, type(config)) if known else {}


def chooses_by_validation(config: RunConfig | LabelConfig) -> bool:
    """Return True if a folder was begun when validation images chose the weights of all data.

    It goes on as it was begun; in others, images that results are of choose nothing.
    """
    return "train.keep" in older_settings(config)


def decodes_as_before(config: RunConfig | LabelConfig) -> bool:
    """Return True if a folder was begun by a version whose decoders had no parameters.

    Such a version lacks ``train.keep`` too.
    """
    return "train.keep" in older_settings(config)


def as_begun(config: C) -> C:
    """Return a config in which defaults are what an older version did that began its folder.

    Values that are no defaults stay: the folder refuses them.
    """
    leaves = settings(type(config))
    for key, value in older_settings(config).items():
        group, _, name = key.rpartition(".")
        section: Any = getattr(config, group)
        if getattr(section, name) == leaves[key].default:
            changed: dict[str, Any] = {group: dataclasses.replace(section, **{name: value})}
            config = dataclasses.replace(config, **changed)
    return config


def read_run_config(run: str | Path, **changes: Any) -> RunConfig:
    """The settings of a run folder, where it is now, with top-level settings changed.

    Raises:
        RunError: there is no run there.
        ConfigError: its settings cannot be read.
    """
    from nasseg.config.reading import build_config, read_begun

    file = Path(run) / "config.yaml"
    if not file.is_file():
        raise RunError(f"{run} is no run folder: it has no config.yaml; `nasseg run` makes one")
    remember_plugins(Path(run), RunConfig)
    values = {**read_begun(file, RunConfig), "out": str(run), **changes}
    origins = {key: str(file) for key in values if key not in changes}
    return as_begun(build_config(RunConfig, values, origins))


class RunFolder:
    """The files of one run, or of one labelling.

    Args:
        config: its settings; ``config.out`` is the folder.
        readonly: only look at what is there: settings are neither compared nor written.

    Raises:
        RunError: the folder holds a run with other settings, or of other data; the message shows
            the difference. Nothing in the folder is changed then.
    """

    def __init__(self, config: RunConfig | LabelConfig, *, readonly: bool = False) -> None:
        self.config = config
        self.path = Path(config.out)
        file = self.path / "config.yaml"
        self._stages_file = self.path / "stages.json"
        self.stages: dict[str, Any] = self._read_stages()
        if readonly:
            return
        # Settings bind from when the images were found good: until then nothing has been made
        # with them, and a typing error must not lock the folder.
        if file.exists() and "data" in self.stages:
            try:
                saved = yaml.safe_load(file.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise RunError(f"{file} cannot be read: {error}") from None
            if not isinstance(saved, dict):
                raise RunError(f"{file} is not a run's configuration")
            differ = changes(saved, config)
            absent = differ.absent
            if absent:
                raise RunError(
                    f"{self.path} was made by an older nasseg, which did not know "
                    f"{', '.join(absent[:5])}{' ...' if len(absent) > 5 else ''}: its results "
                    "cannot be continued with this one. Use another --out"
                )
            if differ.changed:
                raise RunError(
                    f"{self.path} holds a run with other settings:\n  "
                    + "\n  ".join(differ.changed)
                    + "\nUse the same settings to continue it, or another --out"
                )
        else:
            wanted = to_dict(without_password(config))
            write_text(file, yaml.safe_dump(wanted, sort_keys=False))

    def _read_stages(self) -> dict[str, Any]:
        if not self._stages_file.exists():
            return {}
        try:
            stages = read_json(self._stages_file)
        except ValueError as error:
            raise RunError(f"{self._stages_file} cannot be read: {error}") from None
        if not isinstance(stages, dict):
            raise RunError(f"{self._stages_file} is not a run's record of stages")
        return stages

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def done(self, stage: str) -> bool:
        """Whether a stage was finished."""
        return bool(self.stages.get(stage, {}).get("done"))

    @property
    def digital_layers(self) -> tuple[str, ...]:
        """Names of the layers kept digital: those that the analog stage recorded, before it those
        that the settings name."""
        kept = self.stages.get("analog", {}).get("digital_layers")
        return self.config.analog.named_digital_layers if kept is None else tuple(kept)

    def unbind(self) -> None:
        """Let other settings be chosen: what was begun with these is nothing yet."""
        self.stages.pop("data", None)
        self._save()

    def finish(self, stage: str, **facts: Any) -> None:
        """Mark a stage finished, with what later stages need to know of it."""
        self.stages.setdefault(stage, {}).update(facts, done=True)
        self._save()

    def remembered(self, key: str) -> Any:
        """A setting as ``config.yaml`` has it."""
        return self._section(key)[1].get(key.rpartition(".")[2])

    def remember(self, key: str, value: Any) -> None:
        """Write a setting that may change, such as ``drift.chips``, into ``config.yaml``."""
        saved, section = self._section(key)
        name = key.rpartition(".")[2]
        if section.get(name) != value:
            section[name] = value
            write_text(self.path / "config.yaml", yaml.safe_dump(saved, sort_keys=False))

    def _section(self, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """All settings as saved, and those of them among which ``key`` is."""
        saved = yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8"))
        section = saved
        for group in key.split(".")[:-1]:
            section = section[group]
        return saved, section

    def note(self, stage: str, **facts: Any) -> None:
        """Write down facts of a stage that is not finished yet."""
        self.stages.setdefault(stage, {}).update(facts)
        self._save()

    def check_data(self, fingerprint: str, source: str, images: dict[str, int]) -> None:
        """Remember what the run learns from, and its plug-ins; refuse to go on with anything else.

        Raises:
            RunError: the images are not those that the folder was begun with.
        """
        known = self.stages.get("data")
        if known is None:
            self.stages["data"] = {"fingerprint": fingerprint, "source": source, "images": images}
            if used := used_plugins(self.config):
                self.stages[PLUGINS] = used
            self._save()
        elif known["fingerprint"] != fingerprint:
            raise RunError(
                f"the images have changed since {self.path} was begun (then {known['source']}, "
                f"fingerprint {known['fingerprint']}; now {source}, {fingerprint}). "
                "Bring them back, or use another --out"
            )

    @contextmanager
    def timed(self, stage: str) -> Iterator[Timer]:
        """Time a stage; what interrupted attempts took is counted as far as it was ticked."""
        timer = Timer(self, stage)
        try:
            yield timer
        finally:
            timer.tick()

    def seconds(self) -> dict[str, float]:
        """Seconds by stage, all attempts together."""
        return {
            stage: round(facts["seconds"], 1)
            for stage, facts in self.stages.items()
            if "seconds" in facts
        }

    def _save(self) -> None:
        write_json(self._stages_file, self.stages)

    @contextmanager
    def locked(self, wait: bool = False, tell: bool = False) -> Iterator[None]:
        """Hold the folder; a second process that wants it is told so, or waits for its turn.

        With ``tell``, that it waits is logged: for where another may hold it for long.

        The lock is the operating system's, so that it ends with the process however that ends.
        """
        # A marker file would outlive a killed process: without a lock there, it is an error.
        lock = FileLock(self.path / ".lock", fallback_to_soft=False)
        try:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                if not wait:
                    raise RunError(
                        f"{self.path} is in use by another nasseg process; wait for it, or use "
                        "another --out"
                    ) from None
                if tell:
                    log.warning(f"{self.path} is held by another nasseg process; waiting for it")
                lock.acquire()
        except OSError as error:
            raise RunError(
                f"{self.path} cannot be locked: {error.strerror}; use an --out on another file "
                "system"
            ) from None
        try:
            # Another process may have finished stages since this one looked.
            self.stages = self._read_stages()
            yield
        finally:
            lock.release()


class Timer:
    """Adds the time since it was made, or last ticked, to a stage."""

    def __init__(self, folder: RunFolder, stage: str) -> None:
        self._folder = folder
        self._stage = stage
        self._last = time.monotonic()

    def tick(self, more: float = 0.0) -> None:
        """Add the time since the last tick, and ``more`` seconds, and write it down."""
        now = time.monotonic()
        facts = self._folder.stages.setdefault(self._stage, {})
        facts["seconds"] = facts.get("seconds", 0.0) + now - self._last + more
        self._last = now
        self._folder._save()

    def on_epoch(self, epoch: int) -> dict[str, Any]:
        """Tick after an epoch of a training, which records nothing more of it."""
        self.tick()
        return {}
