"""The student alone, out of a distillation checkpoint: for its stock host, without freekd.

Pure torch, but for ``--check`` (:mod:`freekd.convert.check`), which builds the stock model.
"""

import argparse
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional

import torch

from freekd.fileio import atomic_save, load_checkpoint_file
from freekd.state_dict import (
    PROMPT_PREFIX,
    STUDENT_PREFIX,
    averaged,
    has_prefix,
    state_dict_of,
    strip_module,
    strip_prefix,
)

_KEPT_META = (
    "CLASSES PALETTE epoch iter seed task exp_name time mmcv_version freekd_version freekd_info"
).split()


class ConversionError(RuntimeError):
    """The file cannot be converted; the message says what came and what to do."""


# --------------------------------------------------------------------------- for all converters
def plain(value: Any) -> Any:
    """Python's own types, so that every weights-only reader takes the file."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    return value.item() if hasattr(value, "item") and not torch.is_tensor(value) else value


def kept_meta(content: Any) -> Dict[str, Any]:
    """Of a checkpoint's meta, what a user of its weights needs."""
    meta = content.get("meta") if isinstance(content, Mapping) else None
    meta = meta if isinstance(meta, Mapping) else {}
    return {key: plain(meta[key]) for key in _KEPT_META if key in meta}


def copied(state: Mapping[str, Any]) -> "OrderedDict[str, torch.Tensor]":
    """The tensors alone, on the CPU and each of its own memory; with the layout versions."""
    weights = OrderedDict((name, value.detach().cpu().clone()) for name, value in state.items())
    versions = getattr(state, "_metadata", None)
    if versions:
        weights._metadata = versions  # type: ignore[attr-defined]
    return weights


def averages(state: Mapping[str, Any], content: Any, source: str) -> Mapping[str, Any]:
    """:func:`freekd.state_dict.averaged` of the file ``content``.

    Raises:
        ConversionError: it has no averages, or does not say which they are.
    """
    try:
        return averaged(state, content.get("meta"), source)
    except ValueError as error:
        raise ConversionError(str(error)) from error


def check_output(source: str, out_path: str, force: bool = False) -> Path:
    """``out_path``, if a converter may write there.

    Raises:
        ConversionError: it is a folder, ``source`` itself, or exists and ``force`` is off.
    """
    out = Path(out_path)
    if out.is_dir():
        raise ConversionError(f"--out-path {out}: expected a file name, it is a folder.")
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise ConversionError(f"--out-path {out} is the checkpoint itself. Give another name.")
    if out.exists() and not force:
        raise ConversionError(f"--out-path {out} exists. Give another name, or add --force.")
    return out


def size_of(path: Any) -> str:
    """A file's size in words."""
    size = Path(path).stat().st_size
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.1f} KiB"


def run_converter(convert: Callable[[], str]) -> int:
    """Run it and print the line that it gives; or its error in a line. Returns the exit code."""
    try:
        print(convert())
    except (OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """--out-path and --force."""
    parser.add_argument("--out-path", required=True, help="the file to write")
    parser.add_argument("--force", action="store_true", help="overwrite it if it exists")


# --------------------------------------------------------------------------- student
def student_checkpoint(
    content: Any, source: str = "the checkpoint", ema: bool = False
) -> Dict[str, Any]:
    """``{'meta', 'state_dict'}`` of the student in a distillation checkpoint.

    Args:
        content: As read from a checkpoint of ``FreeKDDistill`` or mmrazor's ``GeneralDistill``.
        source: Its name, for errors.
        ema: The averaged weights of a run with EMAHook.

    Raises:
        ConversionError: It is a stage-1 checkpoint, a plain model's, or none at all; or it has no
            averages.
    """
    state = state_dict_of(content)
    if not state:
        raise ConversionError(
            f"Expected a distillation checkpoint in {source}, found a "
            f"{type(content).__name__} without weights. Give a checkpoint of a stage-2 run."
        )
    state = strip_module(state)
    if ema:
        state = averages(state, content, source)
    if has_prefix(state, PROMPT_PREFIX):
        raise ConversionError(
            f"{source} is a checkpoint of stage 1 (it has {PROMPT_PREFIX}*): it has a teacher and "
            "prompts, no student. Its prompts are in prompts.pth beside it (or take them out by "
            "python tools/model_converters/extract_prompts.py); train the student with "
            "python tools/train.py configs/freekd/... and convert that run's checkpoint."
        )
    student = strip_prefix(state, STUDENT_PREFIX)
    if not student:
        raise ConversionError(
            f"Expected weights under {STUDENT_PREFIX}* in {source}, found "
            f"{', '.join(list(state)[:3])}, ... It is no checkpoint of a distillation run; a plain "
            "model's checkpoint needs no conversion."
        )
    return {"meta": kept_meta(content), "state_dict": copied(student)}


def convert_student(
    checkpoint: str,
    out_path: str,
    force: bool = False,
    check: Optional[str] = None,
    ema: bool = False,
) -> Dict[str, Any]:
    """Write the student of ``checkpoint`` to ``out_path`` and return what was written.

    Args:
        checkpoint: Of a stage-2 run.
        out_path: The file.
        force: Overwrite it.
        check: A config whose model must take the student's weights strictly, see
            :func:`freekd.convert.check.check_student`; nothing is written if it does not.
        ema: The averaged weights of a run with EMAHook.

    Raises:
        FileNotFoundError, RuntimeError: ``checkpoint`` is missing or unreadable.
        ConversionError: It holds no student, it does not fit ``check``, or ``out_path`` exists
            and ``force`` is off.
    """
    out = check_output(checkpoint, out_path, force)
    student = student_checkpoint(load_checkpoint_file(checkpoint), str(checkpoint), ema)
    if check is not None:
        from freekd.convert.check import check_student

        check_student(student["state_dict"], check, str(checkpoint))
    atomic_save(student, out)
    return student


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/model_converters/convert_kd_ckpt_to_student.py``."""
    parser = argparse.ArgumentParser(description="Student-only file of a distillation checkpoint.")
    parser.add_argument("checkpoint", help="checkpoint of a stage-2 run")
    add_output_arguments(parser)
    parser.add_argument(
        "--ema", action="store_true", help="take the averaged weights of a run with EMAHook"
    )
    parser.add_argument(
        "--check",
        metavar="CONFIG",
        help="write only if the stock model of this config (a path, mmdet::..., or "
        "the distillation's own config) takes exactly these weights",
    )
    args = parser.parse_args(argv)

    def convert() -> str:
        student = convert_student(args.checkpoint, args.out_path, args.force, args.check, args.ema)
        fits = f"; fits the model of {args.check} exactly" if args.check else ""
        return (
            f"{args.out_path}: {len(student['state_dict'])} tensors of the student, "
            f"{size_of(args.out_path)}{fits}"
        )

    return run_converter(convert)
