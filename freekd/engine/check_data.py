"""Do dataset and model speak of the same classes, and is there anything to train on?"""

from typing import Any

import torch

from freekd.engine.errors import ConfigError


def check_classes(model: torch.nn.Module, dataset: Any) -> None:
    """The heads of the model that learns must have the dataset's number of classes.

    Raises:
        ConfigError: names the head and both numbers.
    """
    names = getattr(dataset, "CLASSES", None)
    if names is None:
        return
    learns = getattr(getattr(model, "architecture", model), "model", model)
    for path, module in learns.named_modules():
        kind, count = type(module).__name__, getattr(module, "num_classes", None)
        # classes of their own: objects, "stuff", boundaries
        other = any(word in kind for word in ("RPN", "Semantic", "Panoptic", "STDC"))
        if not kind.endswith("Head") or other or not isinstance(count, int):
            continue
        things = getattr(dataset, "THING_CLASSES", None)  # of a panoptic dataset
        if count not in (len(names), len(things or names)):
            raise ConfigError(
                f"{path}.num_classes: {kind} has {count} classes, the training dataset "
                f"{len(names)} ({', '.join(map(str, names[:4]))}, ...). Set num_classes in the "
                "model (student=dict(config=..., bbox_head=dict(num_classes=...)) in a pair), or "
                "the dataset's classes."
            )


def check_images(dataset: Any, key: str = "data.train") -> None:
    """There must be images, and every class must be one of the annotation file's categories.

    Raises:
        ConfigError: names the class and the categories of the file.
    """
    inner = dataset
    while hasattr(inner, "dataset"):  # RepeatDataset and its like
        inner = inner.dataset
    names = getattr(inner, "CLASSES", None) or ()
    categories = getattr(getattr(inner, "coco", None), "dataset", {}).get("categories")
    if categories is not None:
        known = [category["name"] for category in categories]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(
                f"{key}.classes: {unknown} are not among the categories of the annotation file, "
                f"which has {', '.join(known[:10])}{', ...' if len(known) > 10 else ''}. "
                "Correct the names (a single class is a tuple too: classes=('cat',))."
            )
    if len(dataset) == 0:
        raise ConfigError(
            f"{key}: expected images, found none that can be used. Does the annotation file have "
            f"annotations of the classes {', '.join(map(str, names[:10]))}?"
        )
