"""Which models a command of ``tools/analysis`` is about, and what is written where."""

import os
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence

from freekd import tasks
from freekd.config.errors import ConfigError
from freekd.fileio import neighbours


class AnalysisError(ConfigError):
    """What cannot be analysed or written; the message says what to do."""


class Model(NamedTuple):
    """A model by its files; ``checkpoint`` may also be a file of results (``.json``)."""

    name: str
    config: str
    checkpoint: str


def models(config: str, texts: Sequence[str]) -> List[Model]:
    """The models of a command line: ``[NAME=][CONFIG,]CHECKPOINT`` each, the first is CONFIG's.

    Raises:
        AnalysisError: two have one name, or a file is missing.

    >>> models("a.py", ["tests/conftest.py", "T=b.py,tests/conftest.py"])[1].config
    'b.py'
    """
    found: List[Model] = []
    for text in texts:
        name, own, checkpoint = "", config, text
        if not Path(text).exists():
            name, sign, rest = text.partition("=")
            if not sign or "/" in name:
                name, rest = "", text
            checkpoint = rest
            if not Path(rest).exists() and "," in rest:
                own, _, checkpoint = rest.partition(",")
        if not Path(checkpoint).expanduser().is_file():
            raise AnalysisError(
                f"{text}: expected [NAME=][CONFIG,]CHECKPOINT with a checkpoint or a .json file of "
                f"results, but there is no file {checkpoint}; {neighbours(Path(checkpoint))}. "
                "Correct the path."
            )
        checkpoint = str(Path(checkpoint).expanduser())
        found.append(Model(name or default_name(checkpoint), own, checkpoint))
    names = [file_name(model.name) for model in found]
    twice = next((one.name for one in found if names.count(file_name(one.name)) > 1), None)
    if twice is not None:
        raise AnalysisError(
            f"Two models are called {twice!r} (as part of a file's name), expected one. Name them: "
            "OTHER_NAME=CHECKPOINT."
        )
    return found


def default_name(checkpoint: str) -> str:
    """A run's folder for a checkpoint of training, else the file's own name without its ending.

    >>> default_name("work_dirs/freekd/latest.pth"), default_name("student_freekd.pth")
    ('freekd', 'student_freekd')
    >>> default_name("work/student.pth"), default_name("lr_0.1.pth"), default_name("a.bbox.json")
    ('work', 'lr_0.1', 'a')
    """
    path = Path(checkpoint)
    common = ("latest", "student") if path.suffix == ".pth" else ()
    of_run = path.stem in common or path.stem.startswith(("epoch_", "iter_", "best_"))
    own = path.name.split(".")[0] if path.suffix == ".json" else path.stem
    return (path.absolute().parent.name if of_run else "") or own


def file_name(name: str) -> str:
    """A model's name as a part of a file's.

    >>> file_name("student alone/1")
    'student_alone_1'
    """
    return "".join(sign if sign.isalnum() or sign in "-._" else "_" for sign in name)


def check_output(out: Path, names: Sequence[str], force: bool) -> None:
    """Whether files of these names may be written into the folder ``out``, which is made.

    Raises:
        AnalysisError: one exists and ``force`` is off, or see :func:`check_folder`.
    """
    if out.exists() and not out.is_dir():
        raise AnalysisError(f"--out {out}: expected a folder, it is a file. Give another name.")
    there = [name for name in names if (out / name).exists()]
    if there and not force:
        raise AnalysisError(
            f"--out {out}: {', '.join(there)} exists there. Give another folder with --out, or "
            "--force to replace it."
        )
    check_folder(out)  # before hours of work


def check_folder(out: Path) -> None:
    """Make the folder of the results.

    Raises:
        AnalysisError: it cannot be made, or nothing can be written there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        writable = os.access(out, os.W_OK)
        reason = "" if writable else "nothing can be written there"
    except OSError as error:
        reason = str(error)
    if reason:
        raise AnalysisError(
            f"--out: expected a folder for the results, got {out} ({reason}). Give another."
        )


def command(tool: str, argv: Optional[Sequence[str]]) -> str:
    """What to type to make a result again."""
    return shlex.join(["python", tool, *(sys.argv[1:] if argv is None else argv)])


def versions() -> Dict[str, str]:
    """Of what takes part in a result."""
    wheels: Iterable[Any] = (task.wheel for task in tasks.every())
    found = {}
    for name in ("freekd", "torch", "mmcv-full", *wheels, "pycocotools", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
