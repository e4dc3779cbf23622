"""The student alone, out of a distillation checkpoint: for its stock host, without freekd.

Pure torch, but for ``--check`` (:mod:`freekd.convert.check`), which builds the stock model, and
``--to``.
"""

import argparse
from collections import OrderedDict
from typing import Any, Dict, List, Mapping, Optional

from torch import Tensor

from freekd.convert.check import check_student
from freekd.convert.output import (
    ConversionError,
    add_output_arguments,
    averages,
    check_output,
    copied,
    kept_meta,
    run_converter,
    size_of,
)
from freekd.fileio import atomic_save, load_checkpoint_file
from freekd.state_dict import (
    PROMPT_PREFIX,
    STUDENT_PREFIX,
    has_prefix,
    state_dict_of,
    strip_module,
    strip_prefix,
)


def student_checkpoint(
    content: Any, source: str = "the checkpoint", ema: bool = False, plain: bool = False
) -> Dict[str, Any]:
    """``{'meta', 'state_dict'}`` of the student in a distillation checkpoint.

    Args:
        content: As read from a checkpoint of ``FreeKDDistill`` or mmrazor's ``GeneralDistill``.
        source: Its name, for errors.
        ema: The averaged weights of a run with EMAHook.
        plain: Take the checkpoint of a plain model, too: all of it.

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
    if not student and plain and not any(name.startswith("architecture.") for name in state):
        student = state
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
    to: Optional[str] = None,
    bare: bool = False,
) -> Dict[str, Any]:
    """Write the student of ``checkpoint`` to ``out_path`` and return what was written.

    Args:
        checkpoint: Of a stage-2 run.
        out_path: The file.
        force: Overwrite it.
        check: A config whose model must take the student's weights strictly, see
            :func:`freekd.convert.check.check_student`; nothing is written if it does not.
        ema: The averaged weights of a run with EMAHook.
        to: ``mmdet3``: with the names that mmdet 3.x has for a network which mmdet 2.x lacks; then
            the checkpoint of a plain model is taken, too.
        bare: Write the tensors alone, as ``segment_anything`` and others read them; then the
            checkpoint of a plain model is taken, too.

    Raises:
        FileNotFoundError, RuntimeError: ``checkpoint`` is missing or unreadable.
        ConversionError: It holds no student, it does not fit ``check``, ``to`` is not for it, or
            ``out_path`` exists and ``force`` is off.
    """
    out = check_output(checkpoint, out_path, force)
    content = load_checkpoint_file(checkpoint)
    student = student_checkpoint(content, str(checkpoint), ema, plain=bare or to is not None)
    if check is not None:
        check_student(student["state_dict"], check, str(checkpoint))
    if to is not None:
        student["state_dict"] = renamed(student["state_dict"], to, str(checkpoint))
    atomic_save(student["state_dict"] if bare else student, out)
    return student


TARGETS = ("mmdet3",)


def renamed(state: Mapping[str, Tensor], to: str, source: str) -> "OrderedDict[str, Tensor]":
    """The weights under another host's names.

    Args:
        state: the student's.
        to: one of :data:`TARGETS`.
        source: the checkpoint's name, for errors.

    Raises:
        ConversionError: no such target, or a student of whose network it is not known.
    """
    if to not in TARGETS:
        raise ConversionError(f"--to {to}: expected one of {', '.join(TARGETS)}.")
    from freekd.models.dino.names import is_dino, to_mmdet3

    if not is_dino(state):
        raise ConversionError(
            f"--to {to}: expected a DINO, the one network that mmdet 3.x has under other names, "
            f"but the student in {source} is none ({', '.join(list(state)[:2])}, ...). Leave --to "
            "out: its names are those of its stock host."
        )
    return OrderedDict((to_mmdet3(name), value) for name, value in state.items())


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
    parser.add_argument(
        "--to",
        choices=TARGETS,
        help="with the names of stock mmdet 3.x (for a DINO); a plain model's checkpoint is taken, "
        "too",
    )
    parser.add_argument(
        "--bare",
        action="store_true",
        help="write the tensors alone, without meta, as segment_anything reads them; a plain "
        "model's checkpoint is taken, too",
    )
    args = parser.parse_args(argv)

    def convert() -> str:
        student = convert_student(
            args.checkpoint, args.out_path, args.force, args.check, args.ema, args.to, args.bare
        )
        fits = f"; fits the model of {args.check} exactly" if args.check else ""
        return (
            f"{args.out_path}: {len(student['state_dict'])} tensors of the student, "
            f"{size_of(args.out_path)}{fits}"
        )

    return run_converter(convert)
