"""``load_from``: the first weights of a run out of another run's file, counted.

A file fills what it was made for: a plain student's file the student of a pair, a pair's file the
plain student. What it filled is counted by values; too small a share is an error, for a run from
random weights looks like a run from good ones, only worse.
"""

from typing import Any, Dict, List, NamedTuple, Tuple

import torch

from freekd import compat
from freekd.distill.weights import fill_weights, first
from freekd.engine.checkpoint import CheckpointError
from freekd.fileio import load_checkpoint_file
from freekd.prompts.file import is_ours
from freekd.state_dict import (
    PROMPT_PREFIX,
    STUDENT_PREFIX,
    has_prefix,
    state_dict_of,
    strip_module,
    strip_prefix,
)
from freekd.zoo.download import is_url, local_checkpoint

MIN_SHARE = 0.5  # a detector's backbone and neck are more than that
SHARE_KEY = "load_from_min_share"


class Filled(NamedTuple):
    """What a file gave: the share (0 to 1) of the weights of ``what``, and their names there.

    ``empty`` are its parts (neck, head, ...) that got nothing.
    """

    what: str
    share: float
    names: List[str]
    note: str
    empty: List[str]


def load_from(model: torch.nn.Module, cfg: Any) -> Filled:
    """Load ``cfg.load_from`` into the bare model or algorithm.

    Raises:
        CheckpointError: The file holds no weights, is of another kind, or fills less than
            ``load_from_min_share`` of what learns; says how much, and the first missing names.
    """
    source = cfg.load_from
    if not isinstance(source, str):
        raise CheckpointError(f"load_from: expected a path or an address, got {source!r}.")
    min_share = cfg.get(SHARE_KEY, MIN_SHARE)
    if isinstance(min_share, bool) or not isinstance(min_share, (int, float)):
        raise CheckpointError(f"{SHARE_KEY}: expected a number from 0 to 1, got {min_share!r}.")
    content = _read(source)
    if is_ours(content):
        raise CheckpointError(
            f"load_from={source!r} is a prompt file, which has no weights of a model. Give it by "
            "pair.losses.freekd.prompts, and remove load_from."
        )
    state = strip_module(state_dict_of(content))
    if not any(map(torch.is_tensor, state.values())):
        raise CheckpointError(
            f"load_from={source!r}: expected a checkpoint, found a file without weights."
        )
    what, target, weights, others = _parts(model, state, source)
    compat.rename_weights(target, weights)
    found = fill_weights(target, weights)
    missing, shapes = [n for n in found.lacking if n in found.missing], found.shapes(what)
    told = f"missing: {first(missing)}" if missing else ""
    if shapes:
        told += f"{'; ' if told else ''}of another shape: {first(shapes)}"
    if found.share < min_share:
        raise CheckpointError(
            f"load_from={source!r} fills {found.share:.1%} of the {what} (expected: "
            f"{min_share:.0%}); {told}. The file has {first(list(weights) or list(state))}. Give a "
            "checkpoint of this very model, or, if so little is meant, set "
            f"{SHARE_KEY}={found.share:.2f}."
        )
    if others:
        mine = model.state_dict()
        others = {n: v for n, v in others.items() if n in mine and mine[n].shape == v.shape}
        model.load_state_dict(others, strict=False)
    note = f"load_from: {found.share:.1%} of the {what} from {source}"
    empty = sorted(
        {n.split(".")[0] for n in found.lacking} - {n.split(".")[0] for n in found.filled}
    )
    if empty:
        note += f"; nothing of {', '.join(empty)}: is it a file of another architecture?"
    return Filled(what, found.share, found.filled, f"{note}; {told}" if told else note, empty)


def _read(source: str) -> Any:
    if is_url(source):
        return load_checkpoint_file(local_checkpoint(source, "load_from"))
    if "://" in source:  # mmcv's own: torchvision://, open-mmlab://, ...
        from mmcv.runner import CheckpointLoader

        try:
            return CheckpointLoader.load_checkpoint(source, map_location="cpu")
        except Exception as error:  # no such name, no network, no such client
            raise CheckpointError(
                f"load_from={source!r} cannot be read ({type(error).__name__}: {error}). Give a "
                "path, or fetch the file elsewhere."
            ) from error
    return load_checkpoint_file(source)


def _parts(model: Any, state: Any, source: str) -> Tuple[str, Any, Any, Dict[str, torch.Tensor]]:
    """(name of the part, the part, its weights in the file, the file's for the rest)."""
    of_prompts, of_pair = has_prefix(state, PROMPT_PREFIX), has_prefix(state, STUDENT_PREFIX)
    inside = strip_prefix(state, STUDENT_PREFIX)
    if hasattr(model, "save_prompts"):
        if of_prompts:  # the teacher is the config's, unless that names no file
            untrained = model.architecture.checkpoint is None
            prompts = strip_prefix(state, PROMPT_PREFIX)
            return "prompts", model.architecture.prompts, prompts, state if untrained else {}
        if of_pair:
            raise CheckpointError(
                f"load_from={source!r} is a checkpoint of stage 2: it has a student, no teacher "
                "and no prompts. Give a checkpoint of stage 1, or remove the key: the teacher's "
                "weights are prompt.teacher_checkpoint."
            )
        return "teacher", model.architecture.model, state, {}
    if of_prompts:
        raise CheckpointError(
            f"load_from={source!r} is a checkpoint of stage 1: it has a teacher and prompts, no "
            "student. Give the prompts by pair.losses.freekd.prompts (prompts.pth beside that "
            "file), the teacher by pair.teacher_checkpoint, and remove load_from."
        )
    if getattr(model, "distiller", None) is not None:
        rest = {name: value for name, value in state.items() if name.startswith("distiller.")}
        return "student", model.architecture.model, inside if of_pair else state, rest
    if hasattr(model, "architecture"):
        return "model", model.architecture.model, inside if of_pair else state, {}
    return "model", model, inside if of_pair else state, {}
