"""The datasets of ``data.train``, ``data.val`` and ``data.test``, and what their loaders are told.

Everything is built by the task's host: single datasets, lists of them, and their wrappers. What a
config says is checked here first, so that a mistake ends in the name of its key.
"""

import copy
import difflib
from typing import Any, Callable, Dict, NamedTuple

import torch

from freekd import tasks
from freekd.config.errors import ConfigError
from freekd.engine.data import usable_with

_SPLITS = "train val test train_dataloader val_dataloader test_dataloader".split()
_DEFAULTS = dict(samples_per_gpu=2, workers_per_gpu=2)


# --------------------------------------------------------------------------- datasets
def _building(key: str) -> Any:
    """Whatever a dataset's constructor raises is about what the config says."""
    from freekd.config.explain import building

    return building(f"{key}: The dataset cannot be built from the config")


def build_dataset(cfg: Any, task: str, test_mode: bool = False, key: str = "data.train") -> Any:
    """A dataset of the task's host.

    Args:
        cfg: Of one dataset, of a wrapper (``RepeatDataset`` ...), or a list: then all in a row.
        task: Its name.
        test_mode: Without annotations, and no image left out.
        key: The config key, for errors.

    Raises:
        ConfigError: with what the host's constructor says.
    """
    with _building(key):
        return tasks.get(task).build_dataset(copy.deepcopy(cfg), test_mode)


def check_can_be_evaluated(dataset: Any, key: str) -> None:
    """A dataset, or each part of a concatenation, must have its host's ``evaluate``.

    Raises:
        ConfigError: names the key, and what to give in its place.
    """
    kind = type(dataset).__name__
    if not tasks.of_dataset(dataset).can_evaluate(dataset):
        inner = " Give the dataset inside it (its key 'dataset')." if _wraps(dataset) else ""
        raise ConfigError(
            f"{key}: expected a dataset that can be evaluated, but {kind} has no 'evaluate'."
            f"{inner} Or train with --no-validate."
        )
    for number, part in enumerate(getattr(dataset, "datasets", ())):
        if hasattr(part, "datasets"):
            raise ConfigError(
                f"{key}.{number}: expected a single dataset, got a concatenation inside a "
                "concatenation, which cannot be evaluated part by part. Put all datasets in one "
                "list."
            )
        check_can_be_evaluated(part, f"{key}.{number}")
    if len(dataset) == 0:
        raise ConfigError(f"{key}: expected images, found none. Check its files.")


def _wraps(dataset: Any) -> bool:
    return hasattr(dataset, "dataset")


def name_classes(model: torch.nn.Module, dataset: Any) -> Dict[str, Any]:
    """Give the model the dataset's class names, as the hosts do; and return them."""
    names = {
        key: getattr(dataset, key)
        for key in ("CLASSES", "PALETTE")
        if getattr(dataset, key, None) is not None
    }
    inner = getattr(getattr(model, "architecture", None), "model", None)
    for module in (model, inner):
        for key, value in names.items():
            if module is not None:
                setattr(module, key, value)
    return names


# --------------------------------------------------------------------------- options of loaders
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
_IN_EVALUATION = {
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


def _check_options(options: Any, key: str, training: bool) -> Dict[str, Any]:
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
        option = _OPTIONS[name] if training else _IN_EVALUATION.get(name, _OPTIONS[name])
        if not option.fits(value):
            raise ConfigError(
                f"{key}.{name}: expected {option.expected}, got {value!r}. Correct the key."
            )
    return {k: v for k, v in options.items() if k != "num_gpus" and v is not None}


def _shared_options(data: Any, task: str) -> Dict[str, Any]:
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
    return _check_options(found, "data", training=True)


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
        **_DEFAULTS,
        **_shared_options(cfg.data, task),
        **_check_options(own, "data.train_dataloader", training=True),
    }


def build_eval_loader(cfg: Any, split: str, task: str, distributed: bool) -> Any:
    """The loader of ``data.val`` or ``data.test``, in the dataset's order.

    Args:
        cfg: An mmcv Config.
        split: ``val`` or ``test``.
        task: Its name.
        distributed: Every process takes its share of the images.

    Raises:
        ConfigError: as :func:`build_dataset`, :func:`check_can_be_evaluated` and
            :func:`train_loader_options`.
    """
    key, host = f"data.{split}", tasks.get(task)
    dataset_cfg = copy.deepcopy(cfg.data[split])
    shared = _shared_options(cfg.data, task)
    kept = set(shared) if host.shared_in_tests is None else set(host.shared_in_tests)
    if not host.batches_in_tests:
        kept -= {"samples_per_gpu"}
    options = {
        **dict(_DEFAULTS, samples_per_gpu=1, persistent_workers=False),
        **{k: v for k, v in shared.items() if k in kept and k not in _IN_EVALUATION},
        **_own_samples(dataset_cfg, key),
        **_check_options(cfg.data.get(f"{split}_dataloader"), f"{key}_dataloader", training=False),
    }
    for name in _IN_EVALUATION:
        options.pop(name, None)
    if options["samples_per_gpu"] > 1:
        with _building(key):
            host.make_batches(dataset_cfg)
    dataset = build_dataset(dataset_cfg, task, test_mode=True, key=key)
    check_can_be_evaluated(dataset, key)
    options = usable_with(options["workers_per_gpu"], options)
    options.setdefault("persistent_workers", False)
    loader = host.build_eval_loader(dataset, distributed, options)
    if host.one_size and options["samples_per_gpu"] > 1:
        loader.collate_fn = _OneSize(loader.collate_fn, key)
    return loader


class SizeError(ConfigError):
    """Images that cannot be in one batch; of a loader's worker only the last line is kept."""

    def __init__(self, text: str) -> None:
        super().__init__(text.rsplit("SizeError: ", 1)[-1].strip())


class _OneSize:
    """A batch is of one size; mmseg also gives all of it the first image's own size back."""

    def __init__(self, collate: Callable[[Any], Any], key: str) -> None:
        self.collate, self.key = collate, key

    def __call__(self, samples: Any) -> Any:
        sizes = {str(_sizes(sample)): None for sample in samples}
        if len(sizes) > 1:
            raise SizeError(
                f"{self.key}_dataloader.samples_per_gpu: expected images of one size, as several "
                f"are evaluated at once only then, got {' and '.join(sizes)}. Set it to 1."
            )
        return self.collate(samples)


def _sizes(sample: Any) -> Any:
    """Of a sample's images (one for each augmentation): (C, H, W), and (H, W, C) of the file.

    An image that is no container stands for itself, whatever its file's size: nothing is resized
    back.
    """
    images, metas = (
        sample[key] if isinstance(sample[key], list) else [sample[key]]
        for key in ("img", "img_metas")
    )
    shapes = [tuple(image.data.shape) for image in images]
    if torch.is_tensor(sample["img"]):
        return shapes
    return shapes, [meta.data.get("ori_shape") for meta in metas]


def _own_samples(dataset_cfg: Any, key: str) -> Dict[str, Any]:
    """``samples_per_gpu`` that stands in a dataset, or the largest of a list of them, taken out."""
    found = []
    for one in dataset_cfg if isinstance(dataset_cfg, (list, tuple)) else [dataset_cfg]:
        if isinstance(one, dict) and "samples_per_gpu" in one:
            value = dict(samples_per_gpu=one.pop("samples_per_gpu"))
            found.append(_check_options(value, key, training=False)["samples_per_gpu"])
    return dict(samples_per_gpu=max(found)) if found else {}
