"""What a config tells the loaders: ``data``, ``data.train_dataloader`` and their like."""

import difflib
from typing import Any, Callable, Dict, NamedTuple

import torch

from freekd import tasks
from freekd.config.errors import ConfigError

_SPLITS = "train val test train_dataloader val_dataloader test_dataloader".split()
DEFAULTS = dict(samples_per_gpu=2, workers_per_gpu=2)


class _Option(NamedTuple):
    """What a key of ``train_dataloader`` and its like may be."""

    expected: str
    fits: Callable[[Any], bool]


def _integer(least: int, most: int = 2**20) -> _Option:
    def fits(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    return _Option(f"an integer of at least {least}, and at most {most}", fits)


def _optional(option: _Option) -> _Option:
    return _Option(f"None or {option.expected}", lambda v: v is None or option.fits(v))


def _by_class(value: Any) -> bool:
    return isinstance(value, dict) and all(
        key == "num_sample_class" and _integer(1).fits(number) for key, number in value.items()
    )


_START_METHODS = torch.multiprocessing.get_all_start_methods()
_BOOL = _Option("True or False", lambda v: isinstance(v, bool))
_OPTIONS = {
    "samples_per_gpu": _integer(1),
    "workers_per_gpu": _integer(0),
    "shuffle": _BOOL,
    "drop_last": _BOOL,
    "class_aware_sampler": _optional(
        _Option("dict(num_sample_class=N), N an integer of at least 1", _by_class)
    ),
    "pin_memory": _BOOL,
    "persistent_workers": _BOOL,
    "prefetch_factor": _optional(_integer(1)),
    "timeout": _Option(
        "a number of seconds, at least 0",
        lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and v >= 0,
    ),
    "multiprocessing_context": _optional(
        _Option(f"one of {', '.join(map(repr, _START_METHODS))}", lambda v: v in _START_METHODS)
    ),
    "num_gpus": _Option(
        "1, as each GPU has a process of its own (bash tools/dist_train.sh CONFIG GPUS)",
        lambda v: _integer(1).fits(v) and v == 1,
    ),
}
IN_EVALUATION = {
    "shuffle": _Option(
        "False, as results are compared in the dataset's order", lambda v: v is False
    ),
    "drop_last": _Option("False, as every image counts", lambda v: v is False),
    "class_aware_sampler": _Option("None, as every image counts once", lambda v: v is None),
}
_REFUSED = {
    "seed": "the order depends on the run's seed: give --seed, or the config key seed",
    "dist": "the launcher decides it: bash tools/dist_train.sh CONFIG GPUS",
    "runner_type": "the config key runner decides it",
    "sampler": "the order is chosen so that a run can be resumed exactly: see shuffle and "
    "class_aware_sampler",
    "batch_sampler": "the batches are chosen so that a run can be resumed exactly: see "
    "samples_per_gpu, shuffle, drop_last and class_aware_sampler",
    "batch_size": "its name is samples_per_gpu",
    "num_workers": "its name is workers_per_gpu",
    "collate_fn": "batches are put together by mmcv's collate",
    "worker_init_fn": "every image has a seed of its own, whichever worker loads it",
    "generator": "the order depends on the run's seed: give --seed, or the config key seed",
}


def check_options(options: Any, key: str, training: bool) -> Dict[str, Any]:
    """``options`` as a plain dict, each of a known name and kind."""
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise ConfigError(
            f"{key}: expected a dict of {', '.join(_OPTIONS)}, got {options!r}. Correct the key."
        )
    for name, value in options.items():
        if name not in _OPTIONS:
            near = difflib.get_close_matches(str(name), _OPTIONS, n=1, cutoff=0.0)
            why = _REFUSED.get(name, f"the nearest known key is {near[0]}" if near else "")
            raise ConfigError(
                f"{key}.{name}: expected one of {', '.join(_OPTIONS)}; {why}. Remove or rename the "
                "key."
            )
        option = _OPTIONS[name] if training else IN_EVALUATION.get(name, _OPTIONS[name])
        if not option.fits(value):
            raise ConfigError(
                f"{key}.{name}: expected {option.expected}, got {value!r}. Correct the key."
            )
    return {k: v for k, v in options.items() if k != "num_gpus" and v is not None}


def shared_options(data: Any, task: str) -> Dict[str, Any]:
    """Options that stand in ``data`` itself: some hosts take any, others a few and ignore more."""
    found = {key: data[key] for key in data if key not in _SPLITS}
    host = tasks.get(task)
    if host.shared_keys is not None:
        read, renamed = host.shared_keys, host.renamed_keys
        found.update({renamed[old]: found[old] for old in renamed if old in found})
        for name in set(found) - set(read) - set(renamed) - set(_OPTIONS):
            near = difflib.get_close_matches(str(name), read, n=1, cutoff=0.8)
            if near:
                raise ConfigError(
                    f"data.{name}: expected data.{near[0]}, which is the nearest key of "
                    f"{host.package}'s. Correct the name."
                )
        found = {key: value for key, value in found.items() if key in read}
    return check_options(found, "data", training=True)


def train_loader_options(cfg: Any, task: str) -> Dict[str, Any]:
    """What ``data`` and ``data.train_dataloader`` say of the training loader.

    Returns:
        The options of :func:`freekd.engine.data.build_train_loader`, ``samples_per_gpu`` and
        ``workers_per_gpu`` among them.

    Raises:
        ConfigError: for a key that means nothing here (says why, and the nearest that does), and
            for a value of another kind.
    """
    own = cfg.data.get("train_dataloader")
    return {
        **DEFAULTS,
        **shared_options(cfg.data, task),
        **check_options(own, "data.train_dataloader", training=True),
    }


def own_samples(dataset_cfg: Any, key: str) -> Dict[str, Any]:
    """``samples_per_gpu`` that stands in a dataset, or the largest of a list of them, taken out."""
    found = []
    for one in dataset_cfg if isinstance(dataset_cfg, (list, tuple)) else [dataset_cfg]:
        if isinstance(one, dict) and "samples_per_gpu" in one:
            value = dict(samples_per_gpu=one.pop("samples_per_gpu"))
            found.append(check_options(value, key, training=False)["samples_per_gpu"])
    return dict(samples_per_gpu=max(found)) if found else {}
