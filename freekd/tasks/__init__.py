"""Detection, segmentation, classification: what differs between them, one file each.

Importing this imports no OpenMMLab package; see :mod:`freekd.tasks.base`.
"""

from typing import Any, Iterator, Mapping, Optional, Tuple

from freekd.tasks.base import BatchAugmentation, RunHead, Task, TaskError
from freekd.tasks.cls import Classification
from freekd.tasks.det import Detection
from freekd.tasks.seg import Segmentation

__all__ = [
    "BatchAugmentation",
    "RunHead",
    "Task",
    "TaskError",
    "every",
    "get",
    "names",
    "of_built",
    "of_dataset",
    "of_model",
    "of_package",
]

_TASKS = {task.name: task for task in (Detection(), Segmentation(), Classification())}


def names() -> Tuple[str, ...]:
    """The names of all tasks.

    >>> names()
    ('det', 'seg', 'cls')
    """
    return tuple(_TASKS)


def every() -> Tuple[Task, ...]:
    """All tasks."""
    return tuple(_TASKS.values())


def get(name: str) -> Task:
    """The task of this name.

    Raises:
        TaskError: there is none.

    >>> get("seg").architecture
    'MMSegArchitecture'
    """
    if not isinstance(name, str) or name not in _TASKS:
        raise TaskError(f"task: expected one of {names()}, got {name!r}. Correct the key.")
    return _TASKS[name]


def of_package(package: str) -> Optional[Task]:
    """The task whose host is ``package``.

    >>> of_package("mmdet").name
    'det'
    """
    return next((task for task in every() if task.package == package), None)


def of_model(model: Any) -> Optional[Task]:
    """The task of a model's config, by its type or, where no host knows that, by what is inside.

    Args:
        model: a config that :func:`freekd.zoo.stock.read_model` has read, or of an architecture.
    """
    for kind in _types(model):
        scope, _, name = kind.rpartition(".")
        tasks = [task for task in every() if task.architecture == name]
        tasks = tasks or [task for task in every() if task.installed() and task.knows(name)]
        if scope and len(tasks) > 1:
            tasks = [task for task in tasks if task.package == scope]
        if len(tasks) == 1:
            return tasks[0]
    return None


def _types(cfg: Any) -> Iterator[str]:
    """The ``type`` of a config and of the configs inside it, outermost first."""
    queue = [cfg]
    while queue:
        node = queue.pop(0)
        if isinstance(node, Mapping):
            if isinstance(node.get("type"), str):
                yield node["type"]
            queue.extend(node.values())
        elif isinstance(node, (list, tuple)):
            queue.extend(node)


def of_built(model: Any) -> Task:
    """The task of a model that is built; one of a class of unknown origin is told by its parts."""
    made = [task for task in every() if task.made(model)]
    made = made or [task for task in every() if task.looks_like(model)]
    return made[0] if made else every()[0]


def of_dataset(dataset: Any) -> Task:
    """The task whose host, or a subclass, a dataset or the one that it wraps is of."""
    node = dataset
    while node is not None:
        for task in every():
            if task.made(node):
                return task
        parts = getattr(node, "datasets", None)
        node = parts[0] if parts else getattr(node, "dataset", None)
    return get("det") if hasattr(dataset, "coco") else Task()
