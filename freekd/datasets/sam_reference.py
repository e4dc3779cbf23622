"""The teacher's masks on the images of an evaluation, kept in a file."""

import json
from pathlib import Path
from typing import Any, Dict, List, Sequence

from freekd.fileio import atomic_write_text

FORMAT = "freekd_sam_reference"
VERSION = 1
_COMMAND = "python tools/sam_reference.py CONFIG --checkpoint TEACHER.pth --out FILE"


def write_reference(
    path: str, names: Sequence[str], prompt: str, images: Sequence[Dict[str, Any]],
    teacher: Dict[str, Any],
) -> None:  # fmt: skip
    """Write the file.

    Args:
        path: the file.
        names: of the images, in order.
        prompt: ``point`` or ``box``.
        images: of each ``masks`` and ``iou``, as ``SegmentAnything`` gives them, and ``prompts``,
            in pixels of the original image.
        teacher: what is said of it: ``fingerprint``, ``checkpoint``.
    """
    content = dict(
        format=FORMAT, version=VERSION, teacher=teacher, prompt=prompt, names=list(names),
        images=list(images),
    )  # fmt: skip
    atomic_write_text(path, json.dumps(content) + "\n")


def read_reference(
    path: str, names: Sequence[str], prompt: str, key: str = "data.test.reference"
) -> List[Dict[str, Any]]:
    """The teacher's masks of each image.

    Args:
        path: the file.
        names: of the images that are evaluated, in order.
        prompt: by which.

    Raises:
        FileNotFoundError, ValueError: no such file, or it is of other images or prompts; says how
            to make one.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{key}={path!r}: expected the teacher's masks, found no file. Make them: {_COMMAND}"
        )
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise ValueError(f"{content['format']}, version {content['version']}")
        made_of, kind, images = content["names"], content["prompt"], content["images"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{key}={path!r}: expected a file of tools/sam_reference.py, got another "
            f"({type(error).__name__}: {error}). Make one: {_COMMAND}"
        ) from error
    if kind != prompt:
        raise ValueError(
            f"{key}={path!r}: expected masks prompted by a {prompt}, as SamTestPrompts says, got "
            f"those of a {kind}. Make them again: {_COMMAND}"
        )
    if list(made_of) != list(names):
        differ = [n for n, (a, b) in enumerate(zip(made_of, names)) if a != b]
        where = f"; the first that differs is number {differ[0]}" if differ else ""
        raise ValueError(
            f"{key}={path!r}: expected masks of the {len(names)} images of the evaluation, got "
            f"those of {len(made_of)} others{where}. Make them again: {_COMMAND}"
        )
    found: List[Dict[str, Any]] = images
    return found
