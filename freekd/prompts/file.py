"""Prompt files: what stage 1 leaves for stage 2.

A file holds tensors and plain values only (it loads with ``weights_only=True``): the prompts, the
means that their form wants, the gate, the :class:`~freekd.prompts.spec.PromptSpec`, and what they
were trained on, so that stage 2 can refuse prompts of another teacher. The authors' released files
are read too, as level granularity (see :mod:`freekd.prompts.release`).
"""

import hashlib
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from freekd.fileio import atomic_save, load_checkpoint_file
from freekd.frequency import Transform
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.release import read_release
from freekd.prompts.spec import PromptSpec
from freekd.registry import UnknownType, written

FORMAT = "freekd.prompts"
VERSION = 3  # 1: the transform's keys one by one, the gate's name alone; 2: no form, 'signed'
READS = (1, 2, 3)
MAKE_COMMAND = "python tools/train.py configs/prompt/<your teacher>.py"


def make_command(path: str) -> str:
    """The command that makes the prompt file ``path``, as our configs name theirs.

    >>> make_command("elsewhere/prompts.pth")
    'python tools/train.py configs/prompt/<your teacher>.py'
    """
    config = Path("configs") / "prompt" / f"{Path(path).parent.name}.py"
    return f"python tools/train.py {config}" if config.is_file() else MAKE_COMMAND


class PromptFile(NamedTuple):
    """A loaded prompt file."""

    prompts: FrequencyPrompts
    info: Dict[str, Any]  # teacher module, fingerprint, ...; 'origin': 'release' for the release's


def fingerprint(module: nn.Module) -> str:
    """A short name for a module's weights: equal weights, equal name, on any device.

    Covers parameters and buffers, names and values, but not BatchNorm's batch counters (a frozen
    model's copies differ in them without computing anything else).
    """
    return fingerprint_of(module.state_dict())


def fingerprint_of(state: Mapping[str, Tensor]) -> str:
    """:func:`fingerprint` of the module that has these names and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if name.endswith("num_batches_tracked") or not torch.is_tensor(tensor):
            continue
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name}:{tuple(value.shape)}:".encode())
        digest.update((value.float() if value.is_floating_point() else value).numpy().tobytes())
    return digest.hexdigest()[:16]


def save_prompts(
    prompts: FrequencyPrompts, path: str, info: Optional[Dict[str, Any]] = None
) -> None:
    """Write a prompt file; a crash on the way leaves an existing file as it was.

    Args:
        prompts: what stage 1 learned.
        path: the file, a few kilobytes to megabytes.
        info: what they were trained on: strings and numbers.
    """
    state = {name: value.detach().cpu().clone() for name, value in prompts.state_dict().items()}
    atomic_save({**describe(prompts, info), "state_dict": state}, path)


def describe(prompts: FrequencyPrompts, info: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
    """All of a prompt file but the weights: what they are for and what they were trained on.

    Stage 1 puts it in its checkpoints' meta (``prompts``), so that the prompt file can be taken
    out of them, see :mod:`freekd.convert.prompts`.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "spec": prompts.spec.to_dict(),
        "info": dict(info or {}),
    }


def load_prompts(
    path: str, expected: Union[PromptSpec, Mapping[str, Any], None] = None
) -> PromptFile:
    """Read a prompt file, ours (of any version) or the release's.

    Args:
        path: the file.
        expected: what the config asks for: a spec, or some of its fields by name; None takes any
            file. ``gate=None`` there accepts a file with a gate, which is then left unused.

    Raises:
        FileNotFoundError: no such file; names the command that makes one.
        RuntimeError: truncated, or not a prompt file.
        ValueError: made for something else; lists each key with both values.
    """
    remedy = f"Prompts are made by stage 1: {make_command(path)} (it writes prompts.pth)."
    try:
        content = load_checkpoint_file(path, what="prompt file")
    except (FileNotFoundError, RuntimeError) as error:
        raise type(error)(f"{error} {remedy}") from error
    if is_ours(content):
        prompts, info = _read_ours(content, path, remedy)
    else:
        prompts, info = read_release(content, path, remedy)
    if isinstance(expected, PromptSpec):
        expected = expected._asdict()
    if expected:
        _check_spec(prompts.spec, expected, path, remedy, info.get("levels"))
        if expected.get("gate", prompts.gate) is None:
            prompts.gate = None
            prompts.spec = prompts.spec._replace(gate=None)
    prompts.requires_grad_(False).eval()
    return PromptFile(prompts, info)


def is_ours(content: Any) -> bool:
    """Whether a file's content is a prompt file written by freekd."""
    return isinstance(content, dict) and content.get("format") == FORMAT


def _read_ours(
    content: Dict[str, Any], path: str, remedy: str
) -> Tuple[FrequencyPrompts, Dict[str, Any]]:
    version = content.get("version")
    if version not in READS:
        raise ValueError(
            f"prompt file {path!r} has version {version!r}, this freekd reads {READS}. {remedy}"
        )
    try:
        prompts = FrequencyPrompts(PromptSpec.from_dict(content["spec"]))
        prompts.load_state_dict(content["state_dict"])
    except ImportError as error:
        raise ImportError(f"prompt file {path!r}: {error}") from error
    except UnknownType as error:
        raise ValueError(
            f"prompt file {path!r} was made with a class of one's own: {error}. Name the module of "
            "that class in custom_imports"
        ) from error
    except (KeyError, TypeError, RuntimeError, ValueError, AttributeError) as error:
        raise RuntimeError(f"prompt file {path!r} is damaged: {error}. {remedy}") from error
    return prompts, dict(content.get("info", {}))


def _check_spec(
    came: PromptSpec, expected: Mapping[str, Any], path: str, remedy: str, levels: Any = None
) -> None:
    """``levels`` are the teacher's maps that the file is for; None: all."""
    wrong: List[str] = []
    for field, want in expected.items():
        have = getattr(came, field)
        if want == have or (field == "gate" and want is None):
            continue
        if field == "channels" and len(want) != len(have):
            field, want, have = "num_levels", len(want), len(have)
        key = "teacher_channels" if field == "channels" else field
        wrong.append(f"{key}: the config says {_shown(want)}, the file was made for {_shown(have)}")
        if field == "num_levels" and levels is not None:
            wrong[-1] += f" (the maps {list(levels)}: pair.levels=dict(teacher={list(levels)}))"
        if field == "gate":
            wrong[-1] += " (set gate=None, or train prompts with such a gate)"
    if wrong:
        raise ValueError(
            f"prompt file {path!r} does not fit this config:\n  - "
            + "\n  - ".join(wrong)
            + f"\nChange these keys to what the file was made for, or make new prompts. {remedy}"
        )


def _shown(value: Any) -> str:
    """A field as a config says it."""
    form = value.to_dict() if isinstance(value, Transform) else value
    return written(form) if isinstance(form, dict) else repr(form)
