"""The datasets of ``data.train``, ``data.val`` and ``data.test``, and what their loaders are told.

Everything is built by the task's host: single datasets, lists of them, and their wrappers. What a
config says is checked here first, so that a mistake ends in the name of its key.
"""

import copy
from typing import Any, Callable, Dict

import torch

from freekd import tasks
from freekd.config.errors import ConfigError
from freekd.engine.data import usable_with
from freekd.engine.loader_options import (
    DEFAULTS,
    IN_EVALUATION,
    check_options,
    own_samples,
    shared_options,
)


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
    shared = shared_options(cfg.data, task)
    kept = set(shared) if host.shared_in_tests is None else set(host.shared_in_tests)
    if not host.batches_in_tests:
        kept -= {"samples_per_gpu"}
    options = {
        **dict(DEFAULTS, samples_per_gpu=1, persistent_workers=False),
        **{k: v for k, v in shared.items() if k in kept and k not in IN_EVALUATION},
        **own_samples(dataset_cfg, key),
        **check_options(cfg.data.get(f"{split}_dataloader"), f"{key}_dataloader", training=False),
    }
    for name in IN_EVALUATION:
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
