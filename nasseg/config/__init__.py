"""One typed tree of settings: the command's flags, the keys of the YAML, a run's identity.

Plain dataclasses, importable without torch, so that ``nasseg --help`` answers at once. All that is
known of a setting stands on its field: default, help, bounds, short flag, when it may change.
"""

from nasseg.analog.spec import DRIFT_TIMES
from nasseg.config._setting import Setting, SettingFacts, aliases, setting_facts, settings
from nasseg.config.analog import AnalogConfig, SpecConfig, analog_spec
from nasseg.config.data import MEDMNIST_SETS, DataConfig
from nasseg.config.drift import DriftConfig
from nasseg.config.identity import differences, flatten, to_dict
from nasseg.config.label import LabelConfig
from nasseg.config.run import NATIVE_SCALE, RunConfig
from nasseg.config.search import SearchConfig, default_space, named_space
from nasseg.config.train import TrainConfig

__all__ = [
    "DRIFT_TIMES",
    "MEDMNIST_SETS",
    "NATIVE_SCALE",
    "AnalogConfig",
    "DataConfig",
    "DriftConfig",
    "LabelConfig",
    "RunConfig",
    "SearchConfig",
    "Setting",
    "SettingFacts",
    "SpecConfig",
    "TrainConfig",
    "aliases",
    "analog_spec",
    "default_space",
    "differences",
    "flatten",
    "named_space",
    "setting_facts",
    "settings",
    "to_dict",
]
