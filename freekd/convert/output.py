"""What all converters share: what may be written where, of which weights, and errors in a line."""

import argparse
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any, Callable, Dict, Mapping

import torch

from freekd.state_dict import averaged

_KEPT_META = (
    "CLASSES PALETTE epoch iter seed task exp_name time mmcv_version freekd_version freekd_info"
).split()


class ConversionError(RuntimeError):
    """The file cannot be converted; the message says what came and what to do."""


def plain(value: Any) -> Any:
    """Python's own types, so that every weights-only reader takes the file."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    # numpy's scalars and arrays: a palette that mmseg made up is one
    return value.tolist() if hasattr(value, "tolist") and not torch.is_tensor(value) else value


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
