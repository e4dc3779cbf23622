"""What a robustness table is made of, on disk: one small file for each score, as it comes.

Each is written whole or not at all, in a folder named after everything that decides the score, its
key: so an interrupted command goes on where it was, several processes share the work, and a score
of other settings is never taken.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from freekd import tasks
from freekd.analysis.robustness import corruptions
from freekd.analysis.robustness.images import Cell
from freekd.config.errors import ConfigError
from freekd.fileio import atomic_write_text, file_digest

RESULT = "robustness.json"
PICTURE = "robustness.png"
SCORES = "robustness_scores"  # the folder of the single scores
CLEAN = "clean"
FORMAT = 1  # of a key


class Data(NamedTuple):
    """What a config is tested on."""

    name: str  # as a person reads it
    digest: str  # equal for equal files, wherever they lie


def _leaves(dataset: Any) -> Iterator[Mapping[str, Any]]:
    """The configs of the data sets that load images."""
    if isinstance(dataset, (list, tuple)):
        for part in dataset:
            yield from _leaves(part)
    elif isinstance(dataset, Mapping):
        inner = [dataset[key] for key in ("dataset", "datasets") if key in dataset]
        for part in inner:
            yield from _leaves(part)
        if not inner:
            yield dataset


def _listing(folder: Path) -> str:
    """Names and sizes of the files in a folder and below."""
    found = []
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            found.append(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}")
    return "\n".join(sorted(found))


def data_of(cfg: Any, task: str) -> Data:
    """The data set of ``data.test``: annotation files by what is in them, folders by their list."""
    digest, names = hashlib.sha256(), []
    for part in _leaves(cfg.data.test):
        digest.update(repr((part.get("classes"), part.get("split"))).encode())
        shown: Optional[str] = None
        for key, path in tasks.get(task).files(part):
            place = Path(path)
            if place.is_dir():
                digest.update(f"{key} {_listing(place)}".encode())
            elif place.is_file():
                digest.update(f"{key} {file_digest(place)}".encode())
            shown = path if shown is None or key == "ann_file" else shown
        names.append(shown or str(part.get("type")))
    return Data(", ".join(names), digest.hexdigest())


def check_same_data(found: Mapping[str, Data]) -> Data:
    """All models of a table are evaluated on one data set.

    Args:
        found: by the model's name.

    Raises:
        ConfigError: they are not; names both models and both data sets.
    """
    first, *others = found
    for name in others:
        if found[name].digest != found[first].digest:
            raise ConfigError(
                f"Expected one data set for all models of the table, but {first!r} is tested on "
                f"{found[first].name} and {name!r} on {found[name].name}, which differ. Their "
                "numbers cannot stand side by side: evaluate them in two tables, or set data.test."
            )
    return found[first]


def key_of(
    cfg: Any, checkpoint: str, data: Data, options: Mapping[str, Any], more: Mapping[str, Any]
) -> str:
    """A short hash of all that decides a model's scores.

    Args:
        cfg: its config, as it was read.
        checkpoint: its file; what is in it counts, not its name.
        data: see :func:`data_of`.
        options: of the dataset's ``evaluate``.
        more: settings of the command, such as the order of the channels.
    """
    parts = dict(
        format=FORMAT,
        seeding=corruptions.SEEDING,
        packages=corruptions.versions(),
        model=repr(cfg.get("algorithm") or cfg.get("model")),
        test_cfg=repr(cfg.get("test_cfg")),
        test=repr([part.get("pipeline") for part in _leaves(cfg.data.test)]),
        data=data.digest,
        checkpoint=file_digest(Path(checkpoint)),
        options=repr(sorted(options.items())),
        more=sorted(more.items()),
    )
    text = json.dumps(parts, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Store:
    """The single scores of one table.

    Args:
        out: the folder of the table.
    """

    def __init__(self, out: str) -> None:
        self.folder = Path(out) / SCORES

    def _path(self, key: str, cell: Optional[Cell]) -> Path:
        name = CLEAN if cell is None else f"{cell[0]}_{cell[1]}"
        return self.folder / key / f"{name}.json"

    def read(self, key: str, cell: Optional[Cell]) -> Optional[Dict[str, float]]:
        """All scores of a model under a corruption (None: of the clean images), if they are there.

        Raises:
            ConfigError: a file that is none of ours; says which.
        """
        path = self._path(key, cell)
        try:
            scores = json.loads(path.read_text(encoding="utf-8"))["scores"]
            return {str(name): float(value) for name, value in scores.items()}
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"Expected the scores of one corruption in {path}, found something else "
                f"({type(error).__name__}: {error}). Delete the file, and run the command again."
            ) from error

    def write(
        self, key: str, cell: Optional[Cell], scores: Mapping[str, float], **facts: Any
    ) -> None:
        """Keep them, with ``facts`` for a person who looks."""
        record = dict(facts, cell=None if cell is None else list(cell), scores=dict(scores))
        atomic_write_text(self._path(key, cell), json.dumps(record, indent=1) + "\n")


def read_result(path: Path) -> Optional[Dict[str, Any]]:
    """A table that was written before; None where there is no file.

    Raises:
        ConfigError: a file that is no such table.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict) or record.get("kind") != "robustness":
            raise ValueError("its 'kind' is not 'robustness'")
        [(model["name"], model["key"]) for model in record["models"]]
        record["corruptions"], record["severities"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ConfigError(
            f"--out: expected no file, or a table of this tool, at {path}, found something else "
            f"({error}). Give another folder with --out, or --force to overwrite it."
        ) from error
    return record


def check_may_write(
    path: Path, keys: Mapping[str, str], cells: List[Cell], metric: Optional[str]
) -> None:
    """A new table may replace one that it contains, and no other.

    Args:
        path: of the table.
        keys: the key of each model, by its name.
        cells: the corruptions and severities to come.
        metric: that was asked for; None: the task's.

    Raises:
        ConfigError: the old one has something that the new one would not have; says what.
    """
    old = read_result(path)
    if old is None:
        return
    lost = [model["name"] for model in old["models"] if keys.get(model["name"]) != model["key"]]
    why = ""
    if lost:
        why = f"the model {lost[0]!r} with other settings, or not in this table at all"
    before = {(c, s) for c in old["corruptions"] for s in old["severities"]}
    if not why and before - set(cells):
        corruption, severity = sorted(before - set(cells))[0]
        why = f"{corruption} of severity {severity}, which this table leaves out"
    if not why and metric is not None and metric != old["metric"]:
        why = f"the metric {old['metric']}, not {metric}"
    if why:
        raise ConfigError(
            f"--out: {path} holds other results: {why}. Give another folder with --out, or "
            "--force to overwrite them (the single scores are kept, and not computed again)."
        )


def split(cells: List[Optional[Cell]], shard: Tuple[int, int]) -> List[Optional[Cell]]:
    """The part of process ``k`` of ``n``, counted from 1.

    >>> split([None, ("fog", 1), ("fog", 2)], (1, 2))
    [None, ('fog', 2)]
    """
    return cells[shard[0] - 1 :: shard[1]]
