"""The kinds of a config's own keys, checked when it is read: schedule, data, logging, devices.

What is inside them is checked where it is used; here, that a number is not where a dict belongs.
"""

import logging
from typing import Any, Dict, Mapping

from freekd.config import fields
from freekd.config.fields import Check, optional


def level(value: Any, key: str) -> None:
    """A level of Python's logging: a name or a number."""
    known = isinstance(value, int) and not isinstance(value, bool)
    if not known and not (isinstance(value, str) and isinstance(logging.getLevelName(value), int)):
        raise fields.refuse(key, "'DEBUG', 'INFO', 'WARNING' or 'ERROR'", value)


def steps(value: Any, key: str) -> None:
    """A list of pairs such as ('train', 1)."""
    fits = isinstance(value, (list, tuple)) and all(
        isinstance(step, (list, tuple)) and len(step) == 2 for step in value
    )
    if not fits:
        raise fields.refuse(key, "[('train', 1)]", value, "Remove the key")


# A dot leads into a dict, where there is one.
CHECKS: Dict[str, Check] = {
    "optimizer": fields.mapping,
    "optimizer_config": optional(fields.mapping),
    "lr_config": optional(fields.mapping),
    "momentum_config": optional(fields.mapping),
    "runner": optional(fields.mapping),
    "runner.max_epochs": optional(fields.integer(0)),
    "runner.max_iters": optional(fields.integer(0)),
    "total_epochs": optional(fields.integer(0)),
    "checkpoint_config": optional(fields.mapping),
    "checkpoint_config.interval": fields.integer(-1),
    "checkpoint_config.max_keep_ckpts": fields.integer(-1),
    "checkpoint_config.filename_tmpl": fields.text,
    "checkpoint_config.save_optimizer": fields.flag,
    "checkpoint_config.save_last": fields.flag,
    "checkpoint_config.create_symlink": fields.flag,
    "checkpoint_config.out_dir": optional(fields.text),
    "log_config": optional(fields.mapping),
    "log_config.interval": fields.integer(1),
    "log_config.hooks": fields.dicts,
    "evaluation": optional(fields.mapping),
    "evaluation.interval": fields.integer(1),
    "data": optional(fields.mapping),
    "workflow": optional(steps),
    "algorithm": optional(fields.mapping),
    "load_from": optional(fields.text),
    "resume_from": optional(fields.text),
    "work_dir": optional(fields.text),
    "seed": optional(fields.integer(0, 2**32 - 1)),
    "log_level": level,
    "deterministic": fields.flag,
    "auto_resume": fields.flag,
    "cudnn_benchmark": fields.flag,
    "find_unused_parameters": optional(fields.flag),
    "load_from_min_share": fields.number(0, 1),
    "auto_scale_lr": optional(fields.mapping),
    "baseline": optional(fields.text),
}


def check(cfg: Any) -> None:
    """Check those of :data:`CHECKS` that the config has.

    Raises:
        ConfigError: names the key, what was expected, and what came.
    """
    for key, fits in CHECKS.items():
        node: Any = cfg
        *outer, name = key.split(".")
        for part in outer:
            node = node.get(part)
        if isinstance(node, (Mapping, type(cfg))) and name in node:
            fits(node[name], key)
