"""A file to hand out: without what only training needs, named by its own hash as OpenMMLab does.

``student-<first 8 hex digits of the file's sha256>.pth`` is also what ``torch.hub`` checks a
download by (``check_hash=True``). Pure torch.
"""

import argparse
import hashlib
import io
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import torch

from freekd.convert.output import (
    ConversionError,
    averages,
    copied,
    kept_meta,
    run_converter,
    size_of,
)
from freekd.fileio import atomic_path, load_checkpoint_file
from freekd.prompts.file import is_ours
from freekd.state_dict import PROMPT_PREFIX, STUDENT_PREFIX, has_prefix, state_dict_of, strip_module

DIGITS = 8
_HUB_HASH = re.compile(r"-([a-f0-9]*)\.")  # where torch.hub looks for the hash: the first match
_TOOLS = "python tools/model_converters"


class Published(NamedTuple):
    """A file that was written."""

    path: Path
    sha256: str
    left_out: List[str]  # keys of the source that are not in it


def published_content(
    content: Any, source: str = "the checkpoint", ema: bool = False
) -> Dict[str, Any]:
    """What of a file's content to publish.

    A prompt file stays whole. Of a model's checkpoint: its weights, without the copies that an
    EMA hook keeps (``ema_*``), and the meta that its users need, such as ``CLASSES``. With ``ema``
    the averaged weights, see :func:`freekd.state_dict.averaged`.

    Raises:
        ConversionError: No weights; or a whole distillation, whose student or prompts are to be
            taken out first, with the command.
    """
    if is_ours(content):
        return dict(content)
    state = state_dict_of(content)
    if not state or not all(torch.is_tensor(value) for value in state.values()):
        raise ConversionError(
            f"Expected a checkpoint or a prompt file in {source}, found a "
            f"{type(content).__name__} without weights. Give a .pth file of a model."
        )
    state = strip_module(state)
    for prefix, what, tool in (
        (PROMPT_PREFIX, "its prompts", "extract_prompts.py"),
        (STUDENT_PREFIX, "the student", "convert_kd_ckpt_to_student.py"),
    ):
        if has_prefix(state, prefix):
            raise ConversionError(
                f"{source} is a whole training run's checkpoint (it has {prefix}*). Take {what} "
                f"out first: {_TOOLS}/{tool} {source} --out-path OUT"
                + (" --ema" if ema and prefix == STUDENT_PREFIX else "")
                + "; then publish OUT."
            )
    if ema:
        state = averages(state, content, source)
    weights = copied(state)
    for name in [name for name in weights if name.startswith("ema_")]:
        del weights[name]
    return {"meta": kept_meta(content), "state_dict": weights}


def publish(source: str, out_path: str, ema: bool = False) -> Published:
    """Write what of ``source`` is to be published to ``<out_path>-<hash>.pth``.

    The file is complete and read back before it gets its name.

    Args:
        source: A student-only or plain checkpoint, or a prompt file.
        out_path: The name without the hash; ``.pth`` at its end is optional.
        ema: The averaged weights of a run with EMAHook.

    Raises:
        FileNotFoundError, RuntimeError: ``source`` is missing or unreadable.
        ConversionError: See :func:`published_content`; ``out_path`` has no usable name; or the
            file exists.
    """
    out = Path(out_path)
    stem = out.name[: -len(".pth")] if out.name.endswith(".pth") else out.name
    read = _HUB_HASH.search(f"{stem}-{'0' * DIGITS}.pth")
    problem = None
    if not stem or out.is_dir():
        problem = "came a folder"
    elif read is not None and read.start() < len(stem):
        problem = f"torch.hub would take {read.group()!r} in it for the hash"
    if problem is not None:
        raise ConversionError(
            f"OUT {out_path}: expected a file name that the hash can be added to; {problem}. Give "
            "another name, such as student.pth."
        )
    content = load_checkpoint_file(source)
    kept = published_content(content, str(source), ema)
    buffer = io.BytesIO()  # in memory: a file's own name would become part of its bytes
    torch.save(kept, buffer)
    data = buffer.getbuffer()
    digest = hashlib.sha256(data).hexdigest()
    target = out.with_name(f"{stem}-{digest[:DIGITS]}.pth")
    if target.exists():
        raise ConversionError(
            f"{target} exists; nothing was written. Remove it, or give another OUT."
        )
    with atomic_path(target) as temp:
        temp.write_bytes(data)
        _verify(temp, digest, kept)
    return Published(target, digest, _left_out(content, kept))


def _verify(path: Path, digest: str, kept: Dict[str, Any]) -> None:
    """Read back what was written: its hash, and as a file of tensors and plain values."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != digest:
        raise ConversionError(
            f"{path} was written with sha256 {found}, expected {digest}: the disk or its file "
            "system is at fault. Nothing was kept; publish to another place."
        )
    state = load_checkpoint_file(path)["state_dict"]
    if list(state) != list(kept["state_dict"]):
        raise ConversionError(f"{path} does not read back as it was written. Nothing was kept.")


def _left_out(content: Any, kept: Dict[str, Any]) -> List[str]:
    """Names of what the source had beside what was kept, for the report."""
    if "state_dict" not in content:
        return []
    names = [str(key) for key in content if key not in kept]
    meta = content.get("meta") if isinstance(content.get("meta"), dict) else {}
    names += [f"meta.{key}" for key in meta if key not in (kept.get("meta") or {})]
    ema = [name for name in content["state_dict"] if name not in kept["state_dict"]]
    return names + [f"state_dict.{name}" for name in ema if str(name).startswith("ema_")]


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/model_converters/publish_model.py``."""
    parser = argparse.ArgumentParser(description="A file to hand out: OUT-<hash>.pth.")
    parser.add_argument("source", help="a student-only or plain checkpoint, or a prompt file")
    parser.add_argument("out", help="the name without the hash; .pth is optional")
    parser.add_argument(
        "--ema", action="store_true", help="take the averaged weights of a run with EMAHook"
    )
    args = parser.parse_args(argv)

    def convert() -> str:
        done = publish(args.source, args.out, args.ema)
        left = ", ".join(done.left_out[:8]) + (", ..." if len(done.left_out) > 8 else "")
        return (
            f"{done.path}: {size_of(done.path)}, sha256 {done.sha256}"
            f"\nleft out: {left or 'nothing'}"
        )

    return run_converter(convert)
