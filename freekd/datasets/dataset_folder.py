"""A generated folder that is either complete and known by its parameters, or not there.

It is filled under a temporary name beside its final one and renamed at the end. A marker file,
``dataset.json``, holds what it was made from, so that a second call can leave it alone or refuse.
"""

import hashlib
import json
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, Optional, TypeVar

from numpy.typing import NDArray

MARKER = "dataset.json"
Item = TypeVar("Item")
Progress = Optional[Callable[[int, int], None]]  # of how many pictures are done, and of all


class Draft:
    """A folder that is being filled.

    Args:
        folder: it; empty.
        total: of the pictures that there will be.
        progress: called as ``progress(done, total)`` after every picture.

    Attributes:
        digest: SHA-256 of the pixels and texts added, in this order.
    """

    def __init__(self, folder: Path, total: int, progress: Progress = None) -> None:
        self.folder, self.total, self.progress = folder, total, progress
        self.digest, self.done = hashlib.sha256(), 0

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """One for each picture: the caller adds it, then it is done."""
        for item in items:
            yield item
            self.done += 1
            if self.progress is not None:
                self.progress(self.done, self.total)

    def add_picture(self, pixels: NDArray[Any], path: str) -> None:
        """Write (H, W, 3) uint8 RGB, or (H, W) labels, as a PNG at a path inside the folder."""
        save_png(pixels, self._place(path))
        self.digest.update(pixels.tobytes())

    def add_text(self, text: str, path: str) -> None:
        """Write a text at a path inside the folder."""
        self._place(path).write_text(text)
        self.digest.update(text.encode())

    def _place(self, path: str) -> Path:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        return place


def save_png(picture: NDArray[Any], path: Path) -> None:
    """Write an (H, W, 3) uint8 RGB picture, or (H, W) labels, without loss."""
    from PIL import Image

    Image.fromarray(picture).save(str(path), format="PNG")


def is_complete(out: Path, parameters: Dict[str, Any], files: Dict[str, int], force: bool) -> bool:
    """Say whether the folder ``out`` is already what was asked for.

    Args:
        out: the folder.
        parameters: what it must have been made from, as JSON values.
        files: glob pattern inside ``out`` -> number of files that must match it.
        force: allow a folder with other parameters, or a damaged one, to be replaced.

    Returns:
        True: leave it alone. False: it is absent, empty, or may be replaced.

    Raises:
        FileExistsError: something else is there (never replaced), or, without ``force``, a folder
            with other parameters or with files missing. The message says both and the remedy.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = json.loads((out / MARKER).read_text())["parameters"]
    except (OSError, ValueError, KeyError, TypeError):
        raise FileExistsError(
            f"{out} exists and is not a generated data set (no readable {MARKER} in it), so it "
            "will not be replaced; give another folder with --out, or remove this one yourself"
        ) from None
    if found != parameters:
        if force:
            return False
        names = sorted(
            name for name in {**found, **parameters} if not _same(name, found, parameters)
        )
        differences = "; ".join(
            f"{name} is {found.get(name)} there, {parameters.get(name)} is asked for"
            for name in names
        )
        raise FileExistsError(
            f"{out} was made with other parameters: {differences}. Give another folder with "
            "--out, or replace this one with --force"
        )
    counted = {pattern: len(list(out.glob(pattern))) for pattern in files}
    wrong = [
        f"expected {number} files {pattern}, found {counted[pattern]}"
        for pattern, number in files.items()
        if counted[pattern] != number
    ]
    if wrong and not force:
        raise FileExistsError(f"{out} is damaged: {'; '.join(wrong)}. Make it anew with --force")
    return not wrong


@contextmanager
def new_folder(
    out: Path,
    parameters: Dict[str, Any],
    files: Dict[str, int],
    force: bool,
    total: int,
    progress: Progress = None,
) -> Iterator[Draft]:
    """Give a temporary folder to fill; mark it and name it ``out`` if all went well, or remove it.

    If another process has made the same folder in the meantime, that one stays.

    Args:
        out, parameters, files, force: as for :func:`is_complete`.
        total, progress: as for :class:`Draft`.

    Yields:
        The temporary folder, beside ``out``.

    Raises:
        FileExistsError: ``out`` appeared in the meantime and is something else.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.tmp")
    draft.mkdir()
    try:
        filled = Draft(draft, total, progress)
        yield filled
        marker = {"parameters": parameters, "sha256": filled.digest.hexdigest()}
        (draft / MARKER).write_text(json.dumps(marker, indent=2) + "\n")
        if is_complete(out, parameters, files, force):
            return
        if out.exists():
            old = draft.with_name(draft.name + ".old")
            out.rename(old)
            draft.rename(out)
            shutil.rmtree(str(old), ignore_errors=True)
        else:
            draft.rename(out)
    finally:
        shutil.rmtree(str(draft), ignore_errors=True)


def _same(name: str, found: Dict[str, Any], parameters: Dict[str, Any]) -> bool:
    return name in found and name in parameters and found[name] == parameters[name]
