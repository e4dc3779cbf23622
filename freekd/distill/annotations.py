"""Which annotations a model's own loss needs, and leaving a head's loss out where data lacks them.

Heads find a missing ``gt_masks`` only deep in their loss, as a ``NoneType``.
"""

import inspect
from contextlib import ExitStack, contextmanager
from typing import Any, Collection, Iterator, List, NamedTuple, Sequence

import torch
from torch import nn

from freekd import tasks


class Need(NamedTuple):
    """An annotation that the loss of ``head`` needs; can that loss be left out?"""

    annotation: str
    head: str
    optional: bool


def needs(model: nn.Module) -> List[Need]:
    """What a model's loss needs of the data, beside image and its meta."""
    task = tasks.of_built(model)
    found = []
    for path, (annotations, optional) in task.head_needs.items():
        head = _part(model, path)
        if head is None:
            continue
        for name in annotations:
            things_alone = path == "panoptic_head" and not getattr(head, "num_stuff_classes", 0)
            if name == "gt_semantic_seg" and things_alone:
                continue
            found.append(Need(name, path, optional))
    forward = getattr(model, "forward_train", None)
    parameters = inspect.signature(forward).parameters if callable(forward) else {}
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name in task.loaded_by:
            if name not in [need.annotation for need in found]:
                found.append(Need(name, type(model).__name__, False))
    for name in getattr(model, "needed_annotations", ()):  # of our own models
        found.append(Need(name, type(model).__name__, False))
    no_rpn = "proposals" in parameters and getattr(model, "rpn_head", None) is None
    if no_rpn and getattr(model, "roi_head", None) is not None:  # Fast R-CNN
        found.append(Need("proposals", "roi_head", False))
    return found


def _part(model: nn.Module, path: str) -> Any:
    part: Any = model
    for name in path.split("."):
        part = getattr(part, name, None)
    return part


def missing(model: nn.Module, given: Collection[str]) -> List[Need]:
    """Those of :func:`needs` that a batch with the keys ``given`` lacks."""
    return [need for need in needs(model) if need.annotation not in given]


def check_annotations(
    model: nn.Module,
    given: Collection[str],
    without: Sequence[str] = (),
    who: str = "model",
    key: str = "",
) -> None:
    """The data must have what the model's own loss needs.

    Args:
        model: whose loss is computed.
        given: keys of a batch.
        without: heads whose loss is left out.
        who: ``teacher``, ``student`` or ``model``, for errors.
        key: of ``without``, for errors; none where it cannot be said.

    Raises:
        ValueError: names the annotation, the head, and what to do.
    """
    lacking = [need for need in missing(model, given) if need.head not in without]
    if not lacking:
        return
    annotation, head, optional = lacking[0]
    loaded_by = {**tasks.of_built(model).loaded_by, **getattr(model, "needed_annotations", {})}
    loader = loaded_by[annotation]
    load = f"Load it ({loader} in data.train.pipeline, and {annotation!r} in the "
    load += "keys of its Collect)"
    if not optional:
        leave = f"take a {who} without {head}"
    elif key:
        leave = f"leave that loss out: {key}=['{head}']"
    else:
        leave = f"take the head out of the {who}: {head}=None"
    others = ", ".join(f"{need.annotation} (for {need.head})" for need in lacking[1:])
    raise ValueError(
        f"the {who}'s own loss needs {annotation} (for {head}), which the data does not give: a "
        f"batch has {', '.join(sorted(given))}. {load}, or {leave}."
        + (f" It also lacks {others}." if others else "")
    )


def check_without(model: nn.Module, without: Any, key: str) -> None:
    """Every head in ``without`` must be one whose loss can be left out.

    Raises:
        ValueError: names the heads of the model that can.
    """
    needs_of = tasks.of_built(model).head_needs.items()
    can = [path for path, (_, optional) in needs_of if optional and _part(model, path)]
    if isinstance(without, str) or not isinstance(without, (list, tuple)):
        raise ValueError(f"{key}={without!r}: expected a list, such as ['roi_head.mask_head']")
    wrong = [path for path in without if path not in can]
    if wrong:
        raise ValueError(
            f"{key}={list(without)!r}: the loss of {wrong} cannot be left out of this "
            f"{type(model).__name__}; those that can: {can or 'none'}"
        )


@contextmanager
def left_out(model: nn.Module, heads: Sequence[str]) -> Iterator[None]:
    """Within it, the losses of these heads are not computed; what other heads see stays as it is.

    A mask branch does not run at all; a semantic branch does, for its features may go to others.
    """
    with ExitStack() as stack:
        for path in heads:
            owner = model if "." not in path else _part(model, path.rpartition(".")[0])
            stack.enter_context(_without(owner, path.rpartition(".")[2]))
        yield


@contextmanager
def _without(owner: Any, name: str) -> Iterator[None]:
    head = getattr(owner, name)
    if name == "mask_head":
        setattr(owner, name, None)
    else:
        fused = type(head).__name__ == "FusedSemanticHead"  # HTC's gives a tensor, others a dict
        head.loss = lambda seg_preds, *_, **__: _zero(seg_preds) if fused else {}
    try:
        yield
    finally:
        if name == "mask_head":
            setattr(owner, name, head)
        else:
            del head.loss


def _zero(like: torch.Tensor) -> torch.Tensor:
    return like.new_zeros(())
