"""A run folder: its settings, which stages are done, how long they took, one process at a time."""

from __future__ import annotations

import dataclasses
import logging
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from filelock import FileLock, Timeout

from nasseg.config import LabelConfig, RunConfig, settings, to_dict
from nasseg.config.identity import changes, older_values
from nasseg.errors import NassegError, RunError
from nasseg.files.forms import is_number, is_text, is_truth, is_whole
from nasseg.files.readers import checked, read_object, read_yaml
from nasseg.io import write_json, write_text
from nasseg.records.plugins import PLUGINS, remember_plugins, used_plugins
from nasseg.records.storage import without_password

log = logging.getLogger(__name__)

C = TypeVar("C", RunConfig, LabelConfig)


CONFIG = "config.yaml"
STAGES = "stages.json"
CHIPS = ("drift.csv", "drift_parts.csv", "sweep.csv")
"""Tables that the drift stage adds to, whose chips are of one run."""
OWN_FOLDERS = ("figures", "evaluation", "search", "surrogate")
"""Folders inside a run folder that files are written into."""
SECTIONS = ("data", "search", "train", "analog", "drift")
"""Keys of ``config.yaml`` with keys inside."""
_STAGE = {
    "done": is_truth,
    "seconds": is_number,
    "metrics": {"*": (is_number,)},
    "mac_fraction": is_number,
    "digital_layers": [is_text],
    "passes": is_number,
    "best_epoch": is_whole,
    "epochs": is_whole,
}
_FORM = {
    "data": {"fingerprint": is_text, "source": is_text, "images": {"*": is_whole}},
    **dict.fromkeys(("search", "train", "analog", "drift", "report"), _STAGE),
}


def read_stages(folder: Path) -> dict[str, Any]:
    """Return the record of stages of a folder; empty where it has none.

    Raises:
        RunError: the file is damaged.
    """
    file = folder / STAGES
    fix = "delete it to make the stages again; checkpoints and chips are kept"
    try:
        stages = read_object(file, error=RunError, fix=fix)
    except FileNotFoundError:
        return {}
    checked(file, stages, _FORM, error=RunError, fix=fix)
    return stages


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of a folder, nested, as ``config.yaml`` has them.

    Raises:
        FileNotFoundError: there are none.
        RunError: the file is damaged.
    """
    file = folder / CONFIG
    fix = (
        f"write the settings that the folder was begun with into it, or delete {STAGES} too to "
        "begin again"
    )
    saved = read_yaml(file, error=RunError, fix=fix)
    nested: dict[str, Any] = {key: {} for key in SECTIONS}
    checked(file, saved, nested, error=RunError, fix=fix)
    found: dict[str, Any] = saved
    return found


def refuse_links(folder: Path) -> None:
    """Refuse a folder that has links where files are written, which would be written through.

    A file that is replaced as a whole, as nearly all are, leaves what a link points at as it is.

    Raises:
        RunError: ``.lock``, a database or one of :data:`OWN_FOLDERS` is a link, or no plain file.
    """
    for path in (*(folder / name for name in OWN_FOLDERS), *folder.glob("study.db*")):
        if path.is_symlink():
            raise RunError(
                f"{path} is a link: what it points at would be written to; put the file or folder "
                "itself there, or delete the link"
            )
    lock = folder / ".lock"
    try:
        found = lock.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise RunError(
            f"{lock} is a link or no plain file: what it points at would be emptied; delete it"
        )


def is_bound(folder: Path) -> bool:
    """Return True if the images of a folder have been found good, so that its settings hold."""
    try:
        return "data" in read_stages(folder)
    except NassegError:
        return False  # an error of whoever opens the folder


def older_settings(config: RunConfig | LabelConfig) -> dict[str, Any]:
    """Return, by key, what the version did that began a folder, where it lacked the settings.

    Only those are among them whose default does something else.
    """
    folder = Path(config.out)
    try:
        saved = read_settings(folder)
    except (FileNotFoundError, NassegError):
        return {}  # an error of whoever reads it
    return older_values(saved, type(config)) if is_bound(folder) else {}


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

    file = Path(run) / CONFIG
    if not file.is_file():
        raise RunError(f"{run} is no run folder: it has no config.yaml; `nasseg run` makes one")
    remember_plugins(Path(run), RunConfig)
    values = {**read_begun(file, RunConfig), "out": str(run), **changes}
    origins = {key: str(file) for key in values if key not in changes}
    return as_begun(build_config(RunConfig, values, origins))


class RunFolder:
    """The files of one run, or of one labelling.

    Settings bind from when the images were found good (:meth:`check_data`): until then nothing has
    been made with them, and none are written, so that a typing error locks no folder and a run
    that was refused leaves nothing that the next one inherits.

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
        self._stages_file = self.path / STAGES
        self.readonly = readonly
        self._begun: list[Path] = []
        """Files that this object began the folder with."""
        self._told = False
        self.stages: dict[str, Any] = read_stages(self.path)
        if not readonly:
            self._compare()

    def _compare(self) -> None:
        """Refuse settings that are not those which the folder was begun with.

        Raises:
            RunError: as the class.
        """
        refuse_links(self.path)
        if "data" not in self.stages:
            return
        try:
            saved = read_settings(self.path)
        except FileNotFoundError:
            raise RunError(
                f"{self.path / CONFIG} is missing; bring it back, or delete {self._stages_file} "
                "too to begin again"
            ) from None
        differ = changes(saved, self.config)
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
        if not self._told:
            self._told = True
            _warn_of_threads(saved, self.config, self.stages)

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
        self.stages.pop(PLUGINS, None)
        self._save()
        for path in self._begun:
            path.unlink(missing_ok=True)

    def finish(self, stage: str, **facts: Any) -> None:
        """Mark a stage finished, with what later stages need to know of it."""
        self.stages.setdefault(stage, {}).update(facts, done=True)
        self._save()

    def remembered(self, key: str) -> Any:
        """A setting as ``config.yaml`` has it."""
        return self._section(key)[1].get(key.rpartition(".")[2])

    def remember(self, key: str, value: Any) -> None:
        """Write a setting that may change, such as ``drift.chips``, into ``config.yaml``.

        Before the folder is bound there is nothing to change: it will be written as it is.
        """
        if "data" not in self.stages:
            return
        saved, section = self._section(key)
        name = key.rpartition(".")[2]
        if section.get(name) != value:
            section[name] = value
            write_text(self.path / CONFIG, yaml.safe_dump(saved, sort_keys=False))

    def _section(self, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """All settings as saved, and those of them among which ``key`` is."""
        saved = read_settings(self.path)
        section = saved
        for group in key.split(".")[:-1]:
            section = section.setdefault(group, {})
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
            if self.readonly:
                raise RunError(f"{self.path} was not begun; `nasseg run --out {self.path}` does it")
            self._set_aside()
            wanted = to_dict(without_password(self.config))
            self.begin_with(CONFIG, yaml.safe_dump(wanted, sort_keys=False))
            self.stages["data"] = {"fingerprint": fingerprint, "source": source, "images": images}
            if used := used_plugins(self.config):
                self.stages[PLUGINS] = used
            self._save()
        elif known.get("fingerprint") != fingerprint:
            raise RunError(
                f"the images have changed since {self.path} was begun (then {known.get('source')}, "
                f"fingerprint {known.get('fingerprint')}; now {source}, {fingerprint}). "
                "Bring them back, or use another --out"
            )

    def begin_with(self, name: str, text: str) -> None:
        """Write a file that is gone again where the first stage refuses the settings."""
        self._begun.append(write_text(self.path / name, text))

    def _set_aside(self) -> None:
        """Rename chips of a folder whose record of stages is gone.

        They may be of other settings, and would be taken for this run's.
        """
        finished = any(isinstance(of, dict) and of.get("done") for of in self.stages.values())
        for name in CHIPS:
            if (self.path / name).exists() and not finished:
                log.warning("%s is of an earlier run here; kept as %s.before", name, name)
                (self.path / name).replace(self.path / f"{name}.before")

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
        self.path.mkdir(parents=True, exist_ok=True)
        refuse_links(self.path)
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
            self.stages = read_stages(self.path)
            if not self.readonly:
                self._compare()
            yield
        finally:
            lock.release()


def _warn_of_threads(
    saved: dict[str, Any], config: RunConfig | LabelConfig, stages: dict[str, Any]
) -> None:
    """Tell that another number of threads than before rounds otherwise."""
    before = saved.get("threads")
    unfinished = any(not stages.get(name, {}).get("done") for name in ("train", "analog", "drift"))
    if unfinished and before is not None and before != config.threads:
        log.warning(
            "threads is %s, and was %s when %s was begun: results of what is computed from here "
            "on differ in their last bits",
            config.threads,
            before,
            config.out,
        )


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
