"""State dicts of wrapped models: taking prefixes off their names. Pure torch.

A checkpoint of a wrapped model has longer names than the model alone: ``module.`` in front where a
parallel wrapper was saved, ``architecture.model.`` in MMRazor's algorithms.
"""

from collections import OrderedDict
from typing import Any, Mapping, Tuple

from torch import Tensor

STUDENT_PREFIX = "architecture.model."
PROMPT_PREFIX = "architecture.prompts."
MIN_SHARE = 0.95  # of a teacher's weights, by values, that its checkpoint must fill


def state_dict_of(content: Any) -> Mapping[str, Any]:
    """The weights in what a checkpoint file holds, bare or under ``state_dict``; empty if none."""
    state = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    return state if isinstance(state, Mapping) else {}


def strip_prefix(
    state: Mapping[str, Any], prefix: str, keep_others: bool = False
) -> "OrderedDict[str, Tensor]":
    """``state`` without ``prefix`` in front of its names.

    The versions that torch keeps beside a state dict (``_metadata``: by them a module sees that
    its weights' layout has changed since) are renamed with it.

    Args:
        state: names to tensors.
        prefix: with its final dot.
        keep_others: keep names that do not start with ``prefix``, as they are; by default they
            are left out.

    >>> sorted(strip_prefix({"a.x": 1, "a.b.y": 2, "z": 3}, "a."))
    ['b.y', 'x']
    >>> sorted(strip_prefix({"a.x": 1, "z": 3}, "a.", keep_others=True))
    ['x', 'z']
    """

    def renamed(name: str) -> Tuple[bool, str]:
        if name.startswith(prefix):
            return True, name[len(prefix) :]
        return keep_others, name

    out: "OrderedDict[str, Tensor]" = OrderedDict()
    for name, value in state.items():
        kept, short = renamed(str(name))
        if kept:
            out[short] = value
    versions = getattr(state, "_metadata", None)
    if versions:
        short_versions: "OrderedDict[str, Any]" = OrderedDict()
        # the root's own entry has no dot: 'module' for 'module.', which becomes ''
        for name, version in versions.items():
            kept, short = (True, "") if f"{name}." == prefix else renamed(str(name))
            if kept:
                short_versions[short] = version
        out._metadata = short_versions  # type: ignore[attr-defined]
    return out


def strip_module(state: Mapping[str, Any]) -> "OrderedDict[str, Tensor]":
    """``state`` without a parallel wrapper's ``module.``, where names have it."""
    return strip_prefix(state, "module.", keep_others=True)


def has_prefix(state: Mapping[str, Any], prefix: str) -> bool:
    """Whether any name starts with ``prefix``."""
    return any(str(name).startswith(prefix) for name in state)


# --------------------------------------------------------------------------- averaged weights
def averaged(state: Mapping[str, Any], meta: Any, source: str) -> "OrderedDict[str, Tensor]":
    """The weights as an EMA hook (mmcv's, mmdet's) averaged them, without its buffers.

    Such a hook keeps, for each weight ``a.b``, a buffer ``ema_a_b``. Runs that count epochs swap
    the two before they save, runs that count iterations do not; a run of freekd says in its meta
    (``averaged``) which of them holds the averages.

    Args:
        state: of a checkpoint, of a bare or a wrapped model.
        meta: of the same checkpoint.
        source: its name, for errors.

    Raises:
        ValueError: there are no averages, or nothing says which they are.
    """
    clean = strip_module(state)
    buffers = {name: f"ema_{name.replace('.', '_')}" for name in clean}
    found = {name: buffer for name, buffer in buffers.items() if buffer in clean}
    if not found:
        raise ValueError(
            f"--ema: expected averaged weights (ema_*) in {source}, found none. It is of a run "
            "without EMAHook, or a file made of one: leave --ema out."
        )
    where = meta.get("averaged") if isinstance(meta, Mapping) else None
    if where not in ("weights", "buffers"):
        raise ValueError(
            f"--ema: {source} has two sets of weights and does not say which is the average "
            "(meta['averaged']), as runs of freekd do. mmdet's and mmcv's runs that count epochs "
            "save the averages as the plain weights: leave --ema out."
        )
    out: "OrderedDict[str, Tensor]" = OrderedDict()
    for name, value in clean.items():
        if name not in found.values():
            out[name] = clean[found[name]] if where == "buffers" and name in found else value
    if hasattr(clean, "_metadata"):
        out._metadata = clean._metadata  # type: ignore[attr-defined]
    return out
