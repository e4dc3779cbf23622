"""Reading what mmcv 1.x writes during training: ``<time>.log.json``, of this version or any other.

The first line says what was run; every other line has a ``mode``, ``train`` or ``val``. A run that
was resumed leaves several files; together they are one :class:`Run`. The steps are counted by
:mod:`freekd.analysis.log_steps`.
"""

import json
import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from freekd.analysis import log_steps
from freekd.analysis.config_text import data_set, read_config_text
from freekd.config.errors import ConfigError
from freekd.fileio import PathLike, UnreadableFileError

SUFFIX = ".log.json"
Line = Dict[str, Any]


@dataclass
class Run:
    """One training, from all its log files.

    Attributes:
        name: Short, for a table or a legend; :func:`read_runs` makes the names of several differ.
        folder: Where the logs are.
        meta: The first line of the last file: ``env_info``, ``seed``, ``config`` (text),
            ``exp_name``, ... ; empty if it has none.
        train: A dict for each training line, in the order of ``step``, the iteration of the whole
            run, counted from 1; all numbers of the line (``lr``, ``time``, each loss, ``ratio.*``).
        val: The same for each line with scores.
        files: The logs that were read.
        notes: What was tolerated or had to be guessed, one sentence each.
        iters_per_epoch: None for a run that counts iterations, or where nothing tells it.
    """

    name: str
    folder: Path
    meta: Dict[str, Any] = field(default_factory=dict)
    train: List[Line] = field(default_factory=list)
    val: List[Line] = field(default_factory=list)
    files: List[Path] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)
    iters_per_epoch: Optional[int] = None

    @property
    def config(self) -> Dict[str, Any]:
        """The config as data, as far as its text is data."""
        return read_config_text(str(self.meta.get("config") or ""))

    @property
    def data(self) -> Optional[str]:
        """Which data the scores are of; None where the log does not say it."""
        return data_set(self.config)

    def names(self) -> List[str]:
        """Every key that can be drawn, of training and then of scores, as first met."""
        skipped = {"step", "epoch", "iter", "mode"}
        return list(
            dict.fromkeys(
                key
                for line in [*self.train, *self.val]
                for key, value in line.items()
                if key not in skipped and is_number(value)
            )
        )

    def curve(self, key: str) -> Dict[int, float]:
        """Step -> value; of the training lines if they have the key, else of the scores."""
        for lines in (self.train, self.val):
            found = {line["step"]: line[key] for line in lines if is_number(line.get(key))}
            if found:
                return found
        return {}


def is_number(value: Any) -> bool:
    """Whether a value can be drawn: a number, but neither a truth value nor NaN."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    return good and not math.isnan(value)


# --------------------------------------------------------------------------- one file
def read_log(path: PathLike, notes: Optional[List[str]] = None) -> List[Line]:
    """The lines of one ``.log.json`` file, the first one (what was run) included.

    A line that is cut off, as a killed run leaves it, is left out and said.

    Args:
        path: The file.
        notes: Takes what was left out; without it, a warning says it.

    Raises:
        FileNotFoundError: There is no such file.
        UnreadableFileError: It is no log of mmcv 1.x.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a log of a training run at {path}, found "
            f"{'a folder' if path.is_dir() else 'nothing'}. mmcv writes <time>{SUFFIX} into the "
            "work folder of a run: name that file, or that folder."
        )
    lines, bad = [], []
    texts = path.read_bytes().decode("utf-8", errors="replace").splitlines()
    for number, text in enumerate(texts, 1):
        if not text.strip("\0 \t"):
            continue
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            line = None
        if isinstance(line, dict):
            lines.append(line)
        else:
            bad.append(number)
    _refuse_other_files(path, lines, len(texts))
    if bad:
        where = "the last line" if bad == [len(texts)] else "line " + ", ".join(map(str, bad[:5]))
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        note = f"{path}: {where}{more} is not whole and is left out: the run was stopped there"
        if notes is None:
            warnings.warn(note, stacklevel=2)
        else:
            notes.append(note)
    return lines


def _refuse_other_files(path: Path, lines: Sequence[Line], count: int) -> None:
    expected = f"Expected a log of mmcv 1.x (<time>{SUFFIX}) in {path}, but "
    if not count:
        raise UnreadableFileError(
            f"{expected}the file is empty: the run ended before it wrote anything. Remove the "
            "file, or start the run again."
        )
    if not lines:
        raise UnreadableFileError(
            f"{expected}none of its {count} lines is a JSON object. Beside a text log <time>.log "
            f"lies the one to read, <time>{SUFFIX}."
        )
    if any(line.get("mode") in ("train", "val") for line in lines):
        return
    if any("step" in line for line in lines):
        raise UnreadableFileError(
            f"{expected}its lines have the key 'step' and no 'mode', as the logs of MMEngine "
            "(MMDetection 3, MMRazor 1) have. Those cannot be read here."
        )
    if not ({"env_info", "seed", "exp_name", "config"} & set(lines[0])):
        raise UnreadableFileError(
            f"{expected}no line has a mode, 'train' or 'val'; its first keys are "
            f"{list(lines[0])[:5]}. Name a work folder, or a log in it."
        )


# --------------------------------------------------------------------------- one run
def log_files(folder: PathLike) -> List[Path]:
    """The logs in a work folder, oldest first (their names are times).

    Raises:
        FileNotFoundError: There is none; the message says where some are.
    """
    folder = Path(folder)
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if files:
        return files
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Expected a work folder or a log at {folder}, found nothing. Correct the path."
        )
    below = sorted({str(path.parent) for path in folder.glob(f"*/**/*{SUFFIX}")})
    there = f"Below it there are logs in {', '.join(below[:4])}" if below else "There is none below"
    more = f" and {len(below) - 4} more folders" if len(below) > 4 else ""
    raise FileNotFoundError(
        f"Expected a log <time>{SUFFIX} in the folder {folder}, found none. {there}{more}. Name "
        "the work folder of one run; tools/train.py writes a log there unless log_config.hooks "
        "leaves TextLoggerHook out."
    )


def read_run(folder: PathLike) -> Run:
    """A work folder, or one log file, as a :class:`Run`.

    Of a run that was resumed, or started again in the same folder, the later file counts from its
    first step on.

    Raises:
        FileNotFoundError: No log is there.
        UnreadableFileError: A file is no log, or nothing was logged.
    """
    given = Path(folder)
    if given.is_file():
        files = [given]
    else:
        files = log_files(given)
    home = given.parent if given.is_file() else given
    run = Run(name=home.resolve().name, folder=home, files=files)
    parts: List[log_steps.Part] = []
    for file in files:
        try:
            parts += log_steps.split(read_log(file, run.notes), file)
        except UnreadableFileError as error:
            if len(files) == 1:
                raise
            run.notes.append(f"left out: {error}")
    metas = [part.meta for part in parts if part.meta]
    run.meta = metas[-1] if metas else {}
    run.train, run.val, run.iters_per_epoch = log_steps.join(parts, run.notes)
    if not run.train and not run.val:
        raise UnreadableFileError(
            f"Expected training or validation lines in {', '.join(map(str, files))}, found none: "
            "the run ended before log_config.interval iterations were over. Let it run on, or "
            "leave it out."
        )
    return run


# --------------------------------------------------------------------------- several runs
def read_runs(paths: Sequence[PathLike], same_data: bool = True) -> List[Run]:
    """Several runs, with names that differ.

    Args:
        paths: Work folders or logs.
        same_data: Refuse runs that are evaluated on different data sets.

    Raises:
        ConfigError: Runs of different data sets.
        FileNotFoundError, UnreadableFileError: As :func:`read_run`.
    """
    once = {Path(path).resolve(): path for path in paths}
    runs = [read_run(path) for path in once.values()]
    name_apart(runs)
    if same_data:
        check_same_data(runs)
    return runs


def name_apart(runs: Sequence[Run]) -> None:
    """Let each name be as many of the last folders as it takes; a file's name where needed."""
    folders = [list(run.folder.resolve().parts) for run in runs]
    steps = [
        own + [run.files[-1].name[: -len(SUFFIX)]] * (folders.count(own) > 1)
        for run, own in zip(runs, folders)
    ]
    for run, own in zip(runs, steps):
        others = [one for one in steps if one != own]
        length = 1
        while length < len(own) and any(one[-length:] == own[-length:] for one in others):
            length += 1
        run.name = "/".join(own[-length:])


def check_same_data(runs: Sequence[Run]) -> None:
    """Scores of different data sets do not belong into one table.

    Raises:
        ConfigError: With both runs and both data sets.
    """
    known = [(run.name, run.data) for run in runs if run.data is not None]
    for name, data in known[1:]:
        if data != known[0][1]:
            raise ConfigError(
                f"Expected runs of one data set, but {known[0][0]} was evaluated on "
                f"{known[0][1]} and {name} on {data} (data.val in their configs). Scores of "
                "different data cannot be compared: look at the runs one by one, or "
                "give tools/analysis/logs.py the option --any-data."
            )
