"""A generated folder that is either complete and known by its parameters, or not there.

It is filled under a temporary name beside its final one and renamed at the end. A marker file,
``dataset.json``, holds what it was made from, so that a second call can leave it alone or refuse.
"""

import json
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator

MARKER = "dataset.json"


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
    out: Path, parameters: Dict[str, Any], files: Dict[str, int], force: bool
) -> Iterator[Path]:
    """Give a temporary folder to fill; name it ``out`` if all went well, else remove it.

    The caller writes the marker file too. If another process has made the same folder in the
    meantime, that one stays.

    Args:
        out, parameters, files, force: as for :func:`is_complete`.

    Yields:
        The temporary folder, beside ``out``, empty.

    Raises:
        FileExistsError: ``out`` appeared in the meantime and is something else.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.tmp")
    draft.mkdir()
    try:
        yield draft
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
