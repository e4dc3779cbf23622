"""What a run depends on, as a short key, and which data it is scored on; from its config's text.

Files count by what is in them, not by where they lie, so that runs of several machines can come
into one table. Nothing of the OpenMMLab packages but mmcv is imported, unless a config has
``custom_imports``.
"""

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

import freekd
from freekd import compat, tasks
from freekd.config.errors import ConfigError
from freekd.datasets.dataset_folder import MARKER
from freekd.fileio import file_digest
from freekd.study.plan import Run


class Data(NamedTuple):
    """The data that a run is scored on."""

    name: str
    digest: str


class Settings(NamedTuple):
    """What the config of a run says, with the study's options in it."""

    config: Mapping[str, Any]
    data: Optional[Data]
    scores: Tuple[str, ...]  # names, the main one first; empty: not known before a run


def read_settings(run: Run) -> Settings:
    """Read the config of a run.

    Raises:
        ConfigError: it cannot be read, or an option does not fit; names the row.
    """
    with compat.quiet_imports():
        from freekd.config.load import import_own, read
        from freekd.config.losses import check_methods
    try:
        cfg, late = read(run.config, dict(run.options))
        config = {**cfg._cfg_dict.to_dict(), **late}
        pair = config.get("pair")
        if isinstance(pair, Mapping) and not run.student_only:
            import_own(cfg, run.config)
            check_methods(pair.get("losses"))
    except ConfigError as error:
        raise ConfigError(f"rows.{run.row}: {error}") from error
    task = tasks.of_package(run.config.partition("::")[0]) or task_of(config)  # a stock config
    validated = (config.get("data") or {}).get("val") if config.get("evaluation") else None
    data = _data_of(validated, task) if isinstance(validated, Mapping) else None
    metric = (config.get("evaluation") or {}).get("metric")
    options = (config.get("evaluation") or {}).get("metric_options") or {}
    names: Tuple[str, ...] = ()
    if isinstance(validated, Mapping):
        names = task.score_names(str(validated.get("type")), metric, options)
    return Settings(config, data, names)


def task_of(config: Mapping[str, Any]) -> tasks.Task:
    """The task that a config names; where it names none, what all tasks have in common."""
    named = config.get("task")
    return tasks.get(named) if named in tasks.names() else tasks.Task()


def _data_of(dataset: Mapping[str, Any], task: tasks.Task) -> Optional[Data]:
    files = list(task.files(dataset))
    labels = [path for key, path in files if key.startswith("ann")]
    chosen = labels or [path for _, path in files]
    if not chosen:
        return None
    digest = hashlib.sha256("\0".join(map(content, chosen)).encode())
    return Data(", ".join(chosen), digest.hexdigest()[:16])


def key_of(run: Run, settings: Settings, processes: int = 1) -> str:
    """Changes with the config, what it inherits, the files it names, the seed and the version.

    Raises:
        OSError: a file that it names cannot be read.
    """
    config = _of_student(settings.config) if run.student_only else settings.config
    parts: List[Any] = [_leaves(config), run.seed, run.student_only, freekd.__version__]
    parts += [processes] if processes != 1 else []
    data, task = settings.config.get("data") or {}, task_of(settings.config)
    for split in ("train", "val"):
        dataset = data.get(split)
        while isinstance(dataset, Mapping) and isinstance(dataset.get("dataset"), Mapping):
            dataset = dataset["dataset"]
        if isinstance(dataset, Mapping):
            parts += [content(path) for _, path in task.files(dataset)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _of_student(config: Mapping[str, Any]) -> Dict[str, Any]:
    """Without what a student alone never sees: its key does not change with the teacher."""
    found = {key: one for key, one in config.items() if not key.startswith("algorithm.distiller")}
    for name, kept in (("pair", "student"), ("algorithm", "architecture")):
        if isinstance(found.get(name), Mapping):
            found[name] = {kept: found[name].get(kept)}
    return found


def _leaves(value: Any) -> Any:
    """A config with each file in the place of its path."""
    if isinstance(value, Mapping):
        return {str(key): _leaves(one) for key, one in value.items() if key != "work_dir"}
    if isinstance(value, (list, tuple)):
        return [_leaves(one) for one in value]
    if isinstance(value, str) and ("/" in value or value.endswith(".py")):
        return content(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def content(path: str) -> str:
    """A word for what is in a file or a folder of data; the path itself where there is nothing.

    Of a folder it is the mark of a generated data set, else its path: COCO is not read for it.
    """
    place = Path(path)
    for mark in (place / MARKER, place.parent / MARKER, place.parent.parent / MARKER):
        if "/" in path and os.path.isfile(mark) and os.path.exists(path):
            inner = place.relative_to(mark.parent).as_posix()
            return f"{inner} of {_digest(mark)}"
    if not os.path.isfile(path):  # nor a path at all, perhaps
        return path
    if place.suffix == ".py":
        return _config_text(path)
    return _digest(place)


def _digest(path: Path) -> str:
    stat = path.stat()
    return _digest_of(str(path.resolve()), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=None)
def _digest_of(path: str, _: int, __: int) -> str:
    return file_digest(path)


@lru_cache(maxsize=None)
def _config_text(path: str) -> str:
    """A config that another names, with what it inherits."""
    from freekd.zoo.config_file import ConfigFileError, read_config

    try:
        text = read_config(path, imports=False)._cfg_dict.to_dict()
    except ConfigFileError:
        return _digest(Path(path))
    return json.dumps(text, sort_keys=True, default=repr)


# --------------------------------------------------------------------------- the whole study
def check_study(runs: Mapping[str, Run], metric: Optional[str]) -> Dict[str, Settings]:
    """Read the config of every row once and compare them; row -> its settings.

    Raises:
        ConfigError: a config or an option that does not fit, a metric that a compared row does not
            have, or compared rows that are scored on different data; names the rows.
    """
    from freekd.study.plan import check_options

    found: Dict[str, Settings] = {}
    for run in runs.values():
        if run.row not in found:
            check_options(run)
            found[run.row] = read_settings(run)
    compared = {run.row: found[run.row] for run in runs.values() if not run.once}
    for row, settings in compared.items():
        if settings.config.get("evaluation") is None or settings.data is None:
            raise ConfigError(
                f"rows.{row}: expected a config that evaluates (evaluation and data.val), for the "
                "table compares scores; it has none. Add them, or give the row a seed: then it is "
                "trained once and compared with nothing."
            )
        _check_metric(row, metric, settings.scores)
    check_same_data({row: settings.data for row, settings in compared.items()})
    return found


def _check_metric(row: str, metric: Optional[str], names: Tuple[str, ...]) -> None:
    per_class = metric is not None and metric.split(".")[0] in ("IoU", "Acc", "Dice", "Fscore")
    if metric is None or not names or per_class or metric in names:
        return
    raise ConfigError(
        f"metric: expected a score that every row has, got {metric!r}; the evaluation of "
        f"rows.{row} gives {', '.join(names)}. Name one of these, or change its evaluation.metric."
    )


def check_same_data(data: Mapping[str, Optional[Data]]) -> None:
    """Whether runs or rows, by name, are scored on the same data.

    Raises:
        ConfigError: two are not; names both, and their data.
    """
    for (first, one), (second, other) in _pairs(data):
        if one.digest != other.digest:
            same = " (the same path, with another content)" if one.name == other.name else ""
            raise ConfigError(
                f"expected one data set in one table, got two: {first} is scored on {one.name}, "
                f"{second} on {other.name}{same}. Make a study of each, or give both the same "
                "data.val."
            )


def _pairs(data: Mapping[str, Optional[Data]]) -> Iterator[Any]:
    known = [(name, one) for name, one in data.items() if one is not None]
    return ((known[0], other) for other in known[1:])
