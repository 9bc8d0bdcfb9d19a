"""A worker of a study, as ``--workers`` starts them; its settings come as YAML on stdin."""

from __future__ import annotations

import logging
import sys

from nasseg.config import LabelConfig, flatten
from nasseg.errors import ConfigError, NassegError


def main() -> int:
    """Work until the study is done; the exit status, as of the command line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        _work(sys.stdin.buffer.read())
    except (NassegError, OSError) as error:
        sys.stderr.write(f"nasseg: error: {error}\n")
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        return 130
    return 0


def _work(settings: bytes) -> None:
    # Imported here, so that an error of the settings has its clean line.
    import yaml

    from nasseg.config.reading import build_config
    from nasseg.config.search import space_for
    from nasseg.data import load_data
    from nasseg.studies.study import measured_by, open_study
    from nasseg.training.device import set_threads

    config = build_config(LabelConfig, flatten(yaml.safe_load(settings)), {})
    set_threads(config.threads)
    data = load_data(config.data)
    study = open_study(config, space_for(config.space, config.data), data)
    one = measured_by(config, study.space, data)
    study.work(one, config.count, config.sampler, stop_gain=config.stop_gain, progress=False)


if __name__ == "__main__":
    sys.exit(main())
