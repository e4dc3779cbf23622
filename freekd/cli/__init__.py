"""The command lines of ``tools/``: nothing slow is imported, so that ``--help`` answers at once."""

from freekd.cli.analysis import confusion, errors, robustness
from freekd.cli.common import CfgOptions, cfg_options
from freekd.cli.run import doctor, print_config, test, train
from freekd.cli.studies import logs, report, study

__all__ = [
    "CfgOptions",
    "cfg_options",
    "confusion",
    "doctor",
    "errors",
    "logs",
    "print_config",
    "report",
    "robustness",
    "study",
    "test",
    "train",
]
