"""A worker of a study, as ``--workers`` starts them; its settings come as YAML on stdin."""

from __future__ import annotations

import logging
import sys
from typing import Any

from nasseg.config import LabelConfig, RunConfig, flatten
from nasseg.errors import ConfigError, NassegError
from nasseg.files.readers import parse_yaml
from nasseg.records.stopping import terminable


def main() -> int:
    """Work until the study is done; the exit status, as of the command line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with terminable() as stopped:
        try:
            _work(sys.stdin.buffer.read())
        except (NassegError, OSError) as error:
            sys.stderr.write(f"nasseg: error: {error}\n")
            return 2 if isinstance(error, ConfigError) else 1
        except KeyboardInterrupt:
            return stopped.status
    return 0


def _work(text: bytes) -> None:
    # Imported here, so that an error of the settings has its clean line.
    from nasseg.config.reading import build_config
    from nasseg.training.device import set_threads

    ((kind, tree),) = parse_yaml(text.decode()).items()
    known: type[Any] = LabelConfig if kind == "label" else RunConfig
    config = build_config(known, flatten(tree), {})
    set_threads(config.threads)
    if isinstance(config, LabelConfig):
        _label(config)
    else:
        _search(config)


def _label(config: LabelConfig) -> None:
    """Work on a labelling, or on a search that measures so many architectures."""
    from nasseg.config.search import space_for
    from nasseg.data import load_data
    from nasseg.studies.study import measured_by, open_study

    data = load_data(config.data)
    study = open_study(config, space_for(config.space, config.data), data)
    one = measured_by(config, study.space, data)
    study.work(one, config.count, config.sampler, stop_gain=config.stop_gain, progress=False)


def _search(config: RunConfig) -> None:
    """Work on a search within a budget."""
    from nasseg.studies.budget import BudgetSearch

    BudgetSearch(config).work(progress=False)


if __name__ == "__main__":
    sys.exit(main())
