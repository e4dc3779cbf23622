"""Helpers that the registered classes share: module paths, model configs, teacher weights."""

import logging
from difflib import get_close_matches
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import torch
from mmcv import ConfigDict
from mmcv.utils import print_log
from torch import nn

from freekd import compat
from freekd.fileio import load_checkpoint_file
from freekd.state_dict import (
    MIN_SHARE,
    STUDENT_PREFIX,
    has_prefix,
    state_dict_of,
    strip_module,
    strip_prefix,
)
from freekd.zoo.download import local_checkpoint
from freekd.zoo.stock import read_model as resolve_model

__all__ = [
    "fill_weights",
    "find_module",
    "first",
    "load_teacher_weights",
    "resolve_model",
    "set_frozen_mode",
    "warn_untrained",
    "without_pretrained",
]


def find_module(model: nn.Module, path: str, key: str) -> nn.Module:
    """The submodule of ``model`` named ``path``.

    Raises:
        ValueError: no such module; names the config ``key`` and the nearest existing paths.
    """
    modules = dict(model.named_modules())
    if path and path in modules:
        return modules[path]
    names = [name for name in modules if name]
    near = get_close_matches(str(path), names, n=5, cutoff=0.4)
    last = str(path).rsplit(".", 1)[-1]
    near += [name for name in names if name.rsplit(".", 1)[-1] == last and name not in near][:3]
    hint = f"nearest: {near}" if near else f"top level: {[n for n in names if '.' not in n]}"
    raise ValueError(f"{key}={path!r}: {type(model).__name__} has no such module; {hint}")


def without_pretrained(cfg: Any) -> Any:
    """The config without its parts' pretrained weights: a checkpoint will replace them all."""
    if isinstance(cfg, Mapping):
        out = ConfigDict()
        for key, value in cfg.items():
            if key == "pretrained":
                out[key] = None
            elif key == "init_cfg" and _is_pretrained(value):
                out[key] = None
            else:
                out[key] = without_pretrained(value)
        return out
    if isinstance(cfg, (list, tuple)):
        return type(cfg)(without_pretrained(item) for item in cfg)
    return cfg


def _is_pretrained(init_cfg: Any) -> bool:
    if not isinstance(init_cfg, Mapping):
        return False
    return init_cfg.get("type") == "Pretrained" or "checkpoint" in init_cfg  # PVT has no type


class Filling(NamedTuple):
    """What :func:`fill_weights` did to a model: names of its tensors, in its order.

    ``share`` (0 to 1) is counted by values; batch norms' counters do not count. ``other_shape``
    has the file's shape and the model's.
    """

    share: float
    filled: List[str]  # counters left out
    lacking: List[str]  # missing or of another shape, counters left out
    missing: List[str]
    other_shape: Dict[str, Tuple[Tuple[int, ...], Tuple[int, ...]]]

    def shapes(self, who: str) -> List[str]:
        """A line for each tensor of another shape."""
        return [f"{n} is {came}, the {who}'s {own}" for n, (came, own) in self.other_shape.items()]


def fill_weights(model: nn.Module, state: Dict[str, Any]) -> Filling:
    """Load what fits; the model's modules rename old names while they load.

    Args:
        model: detector, segmentor, or a part.
        state: the file's; entries that are no tensors, or of another shape, are taken out of it.
    """
    own = model.state_dict()
    for name in [name for name, value in state.items() if not torch.is_tensor(value)]:
        del state[name]
    other = {
        name: (tuple(state.pop(name).shape), tuple(value.shape))
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    }
    absent = set(model.load_state_dict(state, strict=False).missing_keys) - set(other)
    counted = [name for name in own if not name.endswith("num_batches_tracked")]
    lacking = [name for name in counted if name in absent or name in other]
    total = sum(own[name].numel() for name in counted)
    share = 1 - sum(own[name].numel() for name in lacking) / max(total, 1)
    filled = [name for name in counted if name not in absent and name not in other]
    return Filling(share, filled, lacking, [n for n in own if n in absent], other)


class Loaded(NamedTuple):
    """What a teacher's checkpoint gave: the share of the weights filled, 0 to 1, and its classes.

    ``classes`` are those of the file's ``meta['CLASSES']``; None where it does not name them.
    """

    share: float
    classes: Optional[Tuple[str, ...]]


def load_teacher_weights(
    teacher: nn.Module, checkpoint: str, key: str, min_share: float = MIN_SHARE
) -> Loaded:
    """Load a teacher's checkpoint and report the share of its weights that were found.

    Args:
        teacher: a stock mmdet or mmseg model.
        checkpoint: path or address of a stock checkpoint, ``state_dict`` inside or bare; or one of
            this package's distillation checkpoints, whose student is taken.
        key: the config key that named it.
        min_share: below this share of values (not of keys), it is an error.

    Raises:
        FileNotFoundError, RuntimeError: missing, truncated, not to be downloaded, or too small a
            share, with examples.
    """
    checkpoint = local_checkpoint(checkpoint, key)
    try:
        content = load_checkpoint_file(checkpoint, what="teacher checkpoint")
    except (FileNotFoundError, RuntimeError) as error:
        remedy = "must name a checkpoint of the teacher; train one with tools/train.py."
        raise type(error)(f"{error} {key} {remedy}") from error
    state = strip_module(state_dict_of(content))
    if has_prefix(state, STUDENT_PREFIX):
        state = strip_prefix(state, STUDENT_PREFIX)
    compat.rename_weights(teacher, state)
    own, found = teacher.state_dict(), fill_weights(teacher, state)
    missing, share, lacking = found.missing, found.share, sorted(found.lacking)
    if found.other_shape or share < min_share:
        told = sorted(found.shapes("teacher"))
        what = []
        if missing:
            what.append(f"{len(missing)} of {len(own)} are missing: {first(sorted(missing))}")
        if told:
            what.append(f"{len(told)} are of another shape: {first(told)}")
        raise RuntimeError(
            f"{key}={checkpoint!r} does not fit the teacher: {'; '.join(what)}. It fills "
            f"{share:.1%} of the weights (expected: {min_share:.0%}, none of another shape). The "
            f"file has {first(sorted(map(str, state)))}. Is it the checkpoint of this teacher's "
            "config and num_classes?"
        )
    note = "" if not lacking else f"; left as they were: {first(lacking)}"
    level = logging.WARNING if lacking else logging.INFO
    text = f"teacher: {share:.1%} of the weights from {checkpoint}{note}"
    print_log(text, logger="root", level=level)
    return Loaded(share, classes_of(content))


def classes_of(content: Any) -> Optional[Tuple[str, ...]]:
    """The class names in a checkpoint's meta; None where there are none.

    mmdet 3.x and its like keep them in ``meta['dataset_meta']['classes']``.
    """
    meta = content.get("meta") if isinstance(content, Mapping) else None
    meta = meta if isinstance(meta, Mapping) else {}
    later = meta.get("dataset_meta")
    later = later if isinstance(later, Mapping) else {}
    names = meta.get("CLASSES") or later.get("classes") or later.get("CLASSES")
    if not isinstance(names, (list, tuple)) or not names:
        return None
    return tuple(map(str, names))


def set_frozen_mode(model: nn.Module, mode: bool) -> None:
    """Evaluation mode for norms and dropout, while heads still know that they compute losses.

    Some heads of mmdet (RepPoints, VFNet, FCOS with ``norm_on_bbox``) give other outputs, for
    other uses, depending on their own ``training`` flag; the flag alone makes nothing random.
    """
    model.eval()
    for module in model.modules():
        if type(module).__name__.endswith("Head"):
            module.training = mode


def warn_untrained(key: str) -> None:
    """Say loudly that nothing but the teacher's own config gives it weights."""
    print_log(
        f"{key} is not set: the teacher has the initial weights of its config. Unless that loads "
        f"a whole trained detector, set {key} to one.",
        logger="root",
        level=logging.WARNING,
    )


def first(names: Sequence[str], count: int = 3) -> str:
    """The first few of many names, for messages."""
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
