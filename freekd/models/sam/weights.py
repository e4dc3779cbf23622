"""Reading weights: official files, exported students, and checkpoints of our own runs."""

from typing import Any, Dict, Sequence

from mmcv.utils import print_log
from torch import nn

from freekd.distill.weights import fill_weights, first
from freekd.fileio import load_checkpoint_file
from freekd.state_dict import (
    STUDENT_PREFIX,
    has_prefix,
    state_dict_of,
    strip_module,
    strip_prefix,
)
from freekd.zoo.download import local_checkpoint


def read_state(checkpoint: str, key: str) -> Dict[str, Any]:
    """The tensors of a file by the package's names; of a distillation the student's.

    Args:
        checkpoint: path or address.
        key: the config key that named it, for errors.

    Raises:
        FileNotFoundError, RuntimeError: missing, damaged, or not to be downloaded; names the key.
    """
    path = local_checkpoint(checkpoint, key)
    try:
        content = load_checkpoint_file(path, what="checkpoint")
    except (FileNotFoundError, RuntimeError) as error:
        raise type(error)(
            f"{error} {key} must name a file of Segment Anything's weights."
        ) from error
    state = strip_module(state_dict_of(content))
    return strip_prefix(state, STUDENT_PREFIX) if has_prefix(state, STUDENT_PREFIX) else state


def load_parts(model: nn.Module, checkpoint: str, parts: Sequence[str], key: str) -> None:
    """Fill parts of a model, all of them and nothing else.

    Args:
        model: with these parts.
        checkpoint: path or address.
        parts: names of modules of the model; the file may have more.
        key: the config key that named the file.

    Raises:
        RuntimeError: a tensor is missing, of another shape, or not the model's; with examples.
    """
    state = read_state(checkpoint, key)
    for part in parts:
        own = {n[len(part) + 1 :]: v for n, v in state.items() if n.startswith(f"{part}.")}
        module = model.get_submodule(part)
        names = set(module.state_dict())
        more = [f"{part}.{name}" for name in sorted(set(own) - names)]
        found = fill_weights(module, own)
        lacking = [f"{part}.{name}" for name in found.missing]
        other = [f"{part}.{line}" for line in found.shapes("model")]
        problems = {"missing": lacking, "of another shape": other, "not the model's": more}
        if any(problems.values()):
            said = "; ".join(
                f"{len(them)} are {what}: {first(them)}" for what, them in problems.items() if them
            )
            raise RuntimeError(
                f"{key}={checkpoint!r} does not fit the model's {part} ({len(names)} tensors): "
                f"{said}. Give the file of this variant, or the variant of this file."
            )
    print_log(f"{', '.join(parts)}: all weights from {checkpoint}", logger="root")
