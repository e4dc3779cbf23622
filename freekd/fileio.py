"""Reading and writing of checkpoint and text files: atomic, weights-only, errors that help.

Pure torch, so that the prompt files of :mod:`freekd.prompts.file` and the converters work without
any OpenMMLab package.
"""

import contextlib
import difflib
import hashlib
import os
import re
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Union

import numpy as np
import torch

PathLike = Union[str, "os.PathLike[str]"]

TEMP_SUFFIX = ".tmp"
_LEGACY_HEAD = b"\x80\x02\x8a\nl\xfc"  # of files written before torch 1.6


class UnreadableFileError(RuntimeError):
    """A file that is there but cannot be read as what it should be."""


# --------------------------------------------------------------------------- writing
def _temp_name(path: Path) -> Path:
    # Hidden and not ending in .pth: nothing that looks for checkpoints can pick it up.
    return path.with_name(f".{path.name}.{os.getpid()}{TEMP_SUFFIX}")


@contextlib.contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to; rename it over ``path`` on success.

    A reader, or a process that starts after ``kill -9``, sees the old file or the complete new
    one, never a part. On an exception the temporary file is removed and ``path`` is untouched.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temp = _temp_name(target)
    try:
        yield temp
        with open(temp, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temp, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temp.unlink()
        raise


def atomic_write_bytes(path: PathLike, data: Union[bytes, memoryview]) -> None:
    """Write ``data`` to ``path`` atomically (see :func:`atomic_path`)."""
    with atomic_path(path) as temp:
        temp.write_bytes(data)


def atomic_write_text(path: PathLike, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` atomically (see :func:`atomic_path`)."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_save(obj: Any, path: PathLike) -> None:
    """``torch.save(obj, path)``, atomically (see :func:`atomic_path`)."""
    with atomic_path(path) as temp:
        torch.save(obj, temp)


def atomic_symlink(target: str, link: PathLike) -> None:
    """Make ``link`` point to ``target`` in one step, replacing what was there."""
    link = Path(link)
    temp = _temp_name(link)
    with contextlib.suppress(FileNotFoundError):
        temp.unlink()
    os.symlink(target, temp)
    os.replace(temp, link)


def file_digest(path: PathLike) -> str:
    """The sha256 of a file's bytes, in hex; read a megabyte at a time.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def remove_stale_temp_files(folder: PathLike) -> List[str]:
    """Remove what an interrupted write left in ``folder``; return the names removed."""
    removed = []
    for temp in sorted(Path(folder).glob(f".*{TEMP_SUFFIX}")):
        with contextlib.suppress(OSError):
            temp.unlink()
            removed.append(temp.name)
    return removed


# --------------------------------------------------------------------------- reading
def _numpy_globals() -> List[Any]:
    """NumPy's pickle helpers under the names of NumPy 1.x and 2.x, and its dtype classes."""
    try:
        from numpy._core import multiarray
    except ImportError:  # numpy < 1.26 has no numpy._core
        from numpy.core import multiarray  # type: ignore[no-redef]

    def alias(helper: str, package: str) -> Callable[..., Any]:
        function = getattr(multiarray, helper)

        def call(*args: Any) -> Any:
            return function(*args)

        # torch looks an allowed object up by these two names.
        call.__module__, call.__qualname__ = f"{package}.multiarray", helper
        return call

    helpers = [
        alias(helper, package)
        for helper in ("scalar", "_reconstruct")
        for package in ("numpy.core", "numpy._core")
    ]
    dtype_classes = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdgFD"} | {np.dtype}
    return [np.ndarray, *dtype_classes, *helpers]


_numpy_allowed: Optional[bool] = None


def allow_numpy_in_checkpoints() -> bool:
    """Let weights-only loading accept NumPy scalars and arrays; nothing else becomes loadable.

    Checkpoints of mmseg and mmdet with ``save_best`` hold ``numpy.float64`` in their meta, which
    torch >= 2.6 refuses by default. Returns whether this torch has such a list (>= 2.4).
    """
    global _numpy_allowed
    if _numpy_allowed is None:
        register = getattr(torch.serialization, "add_safe_globals", None)
        if register is not None:
            register(_numpy_globals())
        _numpy_allowed = register is not None
    return _numpy_allowed


def neighbours(path: Path, limit: int = 8) -> str:
    """What there is in the place of a checkpoint that is missing, for an error."""
    folder = path.parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist"
    names = sorted(entry.name for entry in folder.glob("*.pth"))
    if not names:
        return f"the folder {folder} holds no .pth file"
    close = difflib.get_close_matches(path.name, names, n=limit, cutoff=0.0)
    return f"the folder {folder} holds " + ", ".join(close)


_HOLDS_OBJECTS = "the file holds the Python object"


def _why_unreadable(path: Path, error: BaseException) -> str:
    """Say in plain words what kind of file came instead of a checkpoint."""
    size = path.stat().st_size
    if size == 0:
        return "the file is empty: its writing or copying was interrupted"
    with open(path, "rb") as handle:
        head = handle.read(64)
    if head.startswith(b"version https://git-lfs"):
        return "the file is a Git LFS pointer, not the data (run: git lfs pull)"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "the file is a web page: a download link led to a page instead of the file"
    text = str(error)
    refused = re.search(r"(?:Unsupported global: GLOBAL|GLOBAL) ([\w.]+)", text)
    if refused:
        return (
            f"{_HOLDS_OBJECTS} {refused.group(1)}, and files are read with "
            "weights_only=True because anything else could run code from the file"
        )
    if head.startswith((b"PK", _LEGACY_HEAD)):
        return f"the file ({size} bytes) is truncated: its writing or copying was interrupted"
    return f"the file ({size} bytes, starting with {head[:8]!r}) is no torch checkpoint"


def load_checkpoint_file(
    path: PathLike, what: str = "checkpoint", map_location: Any = "cpu"
) -> Any:
    """Read a file written by ``torch.save``, tensors and plain containers only.

    Args:
        path: The file.
        what: How to call it in an error, e.g. ``"prompt file"``.
        map_location: As in :func:`torch.load`.

    Returns:
        The object in the file.

    Raises:
        FileNotFoundError: There is no such file; the message lists what is beside it.
        UnreadableFileError: (a RuntimeError) The file is truncated, no torch file, or holds more
            than data.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        came = "a folder" if path.is_dir() else f"nothing; {neighbours(path)}"
        raise FileNotFoundError(
            f"Expected a {what} at {path}, found {came}. "
            "Correct the path, or make the file by the run that writes it."
        )
    allow_numpy_in_checkpoints()
    try:
        return torch.load(str(path), map_location=map_location, weights_only=True)
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # a cut file ends in anything: OSError, struct.error, IndexError
        why = _why_unreadable(path, error)
        remedy = "Copy or make the file again, or use an older one from the same folder."
        if _HOLDS_OBJECTS in why and what == "prompt file":
            remedy = "Make the file again."
        elif _HOLDS_OBJECTS in why:
            remedy = (
                "Copy or make the file again without it; or, if you trust its source, copy it and "
                "tools/model_converters/keep_weights.py to where that object's package is "
                f"installed, and run there: python keep_weights.py {path.name} --out-path "
                "weights.pth. Then use weights.pth."
            )
        raise UnreadableFileError(f"Expected a {what} in {path}, but {why}. {remedy}") from error
