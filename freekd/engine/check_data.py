"""Do dataset and model speak of the same classes, and is there anything to train on?

Training refuses what the doctor reports: both ask here.
"""

from typing import Any, Dict, Iterator

import torch

from freekd import tasks
from freekd.config.errors import ConfigError


# --------------------------------------------------------------------------- classes
def class_counts(model: torch.nn.Module) -> Dict[str, int]:
    """``num_classes`` of each head that tells the data's classes apart, by path."""
    return tasks.of_built(model).class_heads(model)


def other_classes(model: torch.nn.Module, dataset: Any) -> Dict[str, int]:
    """Those of :func:`class_counts` that are not the number of the dataset's classes.

    A panoptic dataset has things among its classes, which some heads tell apart alone.
    """
    names = getattr(dataset, "CLASSES", None)
    if not names:
        return {}
    things = getattr(dataset, "THING_CLASSES", None) or names
    fits = (len(names), len(things))
    return {path: count for path, count in class_counts(model).items() if count not in fits}


def check_classes(model: torch.nn.Module, dataset: Any) -> None:
    """The heads of the model that learns must have the dataset's number of classes.

    Raises:
        ConfigError: names the head and both numbers.
    """
    learns = getattr(getattr(model, "architecture", model), "model", model)
    for path, count in other_classes(learns, dataset).items():
        names, kind = dataset.CLASSES, type(dict(learns.named_modules())[path]).__name__
        head = path.split(".")[0]
        raise ConfigError(
            f"{path}.num_classes: {kind} has {count} classes, the training dataset "
            f"{len(names)} ({', '.join(map(str, names[:4]))}, ...). Set num_classes in the "
            f"model (student=dict(config=..., {head}=dict(num_classes=...)) in a pair), or "
            "the dataset's classes."
        )


# --------------------------------------------------------------------------- images
def check_images(dataset: Any, key: str = "data.train") -> None:
    """There must be images, and labels that are of the dataset's classes.

    Raises:
        ConfigError: names what came, and what the annotations have.
    """
    names = getattr(dataset, "CLASSES", None) or ()
    for inner in _innermost(dataset):
        names = getattr(inner, "CLASSES", None) or ()
        reason = tasks.of_dataset(inner).why_useless(inner)
        if reason is not None:
            raise ConfigError(f"{key}.classes: {reason}")
    if len(dataset) == 0:
        raise ConfigError(
            f"{key}: expected images, found none that can be used. Does the annotation file have "
            f"annotations of the classes {', '.join(map(str, names[:10]))}?"
        )


def _innermost(dataset: Any) -> Iterator[Any]:
    """The datasets inside wrappers: repeated, class-balanced, mixed, one after the other."""
    for part in getattr(dataset, "datasets", ()):
        yield from _innermost(part)
    if hasattr(dataset, "dataset"):
        yield from _innermost(dataset.dataset)
    elif not hasattr(dataset, "datasets"):
        yield dataset


# --------------------------------------------------------------------------- a sample of it
def check_ready(model: torch.nn.Module, dataset: Any, seed: int) -> None:
    """What can only be checked once all weights are loaded, on the shape of a real image.

    Args:
        model: The bare model or algorithm; its ``check_ready`` is asked.
        dataset: The training set; its first image is loaded, with random numbers of its own.
        seed: For these.

    Raises:
        ConfigError: What would stop the first training step.
    """
    from freekd.config.explain import building
    from freekd.distill.annotations import check_annotations
    from freekd.engine.seeds import temporary_seed

    with building("data.train: its first image cannot be loaded"), temporary_seed(seed):
        sample = dataset[0]
    given = list(sample) if isinstance(sample, dict) else None
    image = getattr(sample.get("img"), "data", None) if given else None
    shape = tuple(image.shape) if torch.is_tensor(image) and image.dim() == 3 else None
    with building("The model is not ready"):
        if hasattr(model, "check_ready"):
            model.check_ready(shape, given)
        elif given is not None and not hasattr(model, "architecture"):
            check_annotations(model, given)
        if hasattr(model, "check_dataset"):
            model.check_dataset(dataset)
