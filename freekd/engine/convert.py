"""The student alone, out of a distillation checkpoint: for stock mmdet/mmseg, without freekd.

Pure torch.
"""

import argparse
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import torch

from freekd.fileio import atomic_save, load_checkpoint_file

STUDENT_PREFIX = "architecture.model."
PROMPT_PREFIX = "architecture.prompts."
_KEPT_META = (
    "CLASSES PALETTE epoch iter seed task exp_name time mmcv_version freekd_version".split()
)


class ConversionError(RuntimeError):
    """The file cannot be converted; the message says what came and what to do."""


def _plain(value: Any) -> Any:
    """Python's own types, so that every weights-only reader takes the file."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    return value.item() if hasattr(value, "item") and not torch.is_tensor(value) else value


def student_checkpoint(content: Any, source: str = "the checkpoint") -> Dict[str, Any]:
    """``{'meta', 'state_dict'}`` of the student in a distillation checkpoint.

    Args:
        content: As read from a checkpoint of ``FreeKDDistill`` or mmrazor's ``GeneralDistill``.
        source: Its name, for errors.

    Raises:
        ConversionError: It is a stage-1 checkpoint, a plain model's, or none at all.
    """
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise ConversionError(
            f"Expected a distillation checkpoint in {source}, found a "
            f"{type(content).__name__} without weights. Give a checkpoint of a stage-2 run."
        )
    names = {str(key): str(key)[len("module.") :] if str(key).startswith("module.") else str(key)
             for key in state}  # fmt: skip
    if any(name.startswith(PROMPT_PREFIX) for name in names.values()):
        raise ConversionError(
            f"{source} is a checkpoint of stage 1 (it has {PROMPT_PREFIX}*): it has a teacher and "
            "prompts, no student. Its prompts are in prompts.pth beside it; train the student with "
            "python tools/train.py configs/freekd/... and convert that run's checkpoint."
        )
    student = {
        name[len(STUDENT_PREFIX) :]: state[key]
        for key, name in names.items()
        if name.startswith(STUDENT_PREFIX)
    }
    if not student:
        first = ", ".join(list(names.values())[:3])
        raise ConversionError(
            f"Expected weights under {STUDENT_PREFIX}* in {source}, found {first}, ... It is no "
            "checkpoint of a distillation run; a plain model's checkpoint needs no conversion."
        )
    weights = OrderedDict((name, value.detach().cpu().clone()) for name, value in student.items())
    versions = getattr(state, "_metadata", None)  # of modules whose weights changed their layout
    if versions:
        root = STUDENT_PREFIX[:-1]
        weights._metadata = OrderedDict(  # type: ignore[attr-defined]
            (name[len(root) :].lstrip("."), version)
            for name, version in versions.items()
            if name == root or name.startswith(STUDENT_PREFIX)
        )
    meta = content.get("meta") or {}
    return {
        "meta": {key: _plain(meta[key]) for key in _KEPT_META if key in meta},
        "state_dict": weights,
    }


def convert_student(checkpoint: str, out_path: str, force: bool = False) -> Dict[str, Any]:
    """Write the student of ``checkpoint`` to ``out_path`` and return what was written.

    Raises:
        FileNotFoundError, RuntimeError: ``checkpoint`` is missing or unreadable.
        ConversionError: It holds no student, or ``out_path`` exists and ``force`` is off.
    """
    out = Path(out_path)
    if out.is_dir():
        raise ConversionError(f"--out-path {out}: expected a file name, it is a folder.")
    if out.exists() and Path(checkpoint).exists() and out.samefile(checkpoint):
        raise ConversionError(f"--out-path {out} is the checkpoint itself. Give another name.")
    if out.exists() and not force:
        raise ConversionError(f"--out-path {out} exists. Give another name, or add --force.")
    student = student_checkpoint(load_checkpoint_file(checkpoint), str(checkpoint))
    atomic_save(student, out)
    return student


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/model_converters/convert_kd_ckpt_to_student.py``."""
    parser = argparse.ArgumentParser(description="Student-only file of a distillation checkpoint.")
    parser.add_argument("checkpoint", help="checkpoint of a stage-2 run")
    parser.add_argument("--out-path", required=True, help="the file to write")
    parser.add_argument("--force", action="store_true", help="overwrite it if it exists")
    args = parser.parse_args(argv)
    try:
        student = convert_student(args.checkpoint, args.out_path, args.force)
    except (FileNotFoundError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = Path(args.out_path).stat().st_size / 2**20
    print(f"{args.out_path}: {len(student['state_dict'])} tensors of the student, {size:.1f} MiB")
    return 0
