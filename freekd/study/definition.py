"""A study file: which rows (a config with options) are run, over which seeds, against what.

It is a config of mmcv, so that ``_base_`` works; docs/study.md has every key. Whatever can be said
of it from its text is checked here, before anything runs.
"""

import difflib
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from freekd.config.errors import ConfigError

KEYS = ("name", "work_dir", "baseline", "seeds", "metric", "data", "options", "rows")
ROW_KEYS = ("config", "label", "options", "needs", "seed", "student_only")
FOLDER_OF = re.compile(r"\{([\w.-]+)\}")  # {row} in an option: where that row's run lies
_NAME = re.compile(r"^(?!\.|seed\d+$)[\w.-]+$")


class Row(NamedTuple):
    """One way to train.

    Args:
        name: a word; folders are called so.
        config: path, or ``package::path``.
        label: in the table.
        options: as after ``--cfg-options``.
        needs: rows whose runs must be finished first.
        seed: not None: it is trained once, with this seed, and compared with nothing.
        student_only: train the student of a pair alone.
    """

    name: str
    config: str
    label: str
    options: Mapping[str, Any] = {}
    needs: Tuple[str, ...] = ()
    seed: Optional[int] = None
    student_only: bool = False


class Study(NamedTuple):
    """Rows x seeds."""

    name: str
    work_dir: Path
    baseline: str
    seeds: Tuple[int, ...]
    rows: Mapping[str, Row]
    metric: Optional[str] = None  # None: the first that the task names


def load_study(path: str) -> Study:
    """Read a study file.

    Raises:
        ConfigError: it cannot be read, or see :func:`make_study`.
    """
    from freekd import compat

    with compat.quiet_imports():
        from freekd.zoo.config_file import ConfigFileError, read_config
    try:
        content = read_config(path, imports=False)
    except ConfigFileError as error:
        raise ConfigError(str(error)) from error
    found = content._cfg_dict.to_dict()
    said = {key: value for key, value in found.items() if not key.startswith("_")}
    said.setdefault("name", Path(path).stem)
    return make_study(said, path)


def with_seeds(study: Study, seeds: Sequence[int]) -> Study:
    """The study with other seeds.

    Raises:
        ConfigError: these are no seeds, or not different.
    """
    return study._replace(seeds=_seeds(seeds, "--seeds"))


def make_study(said: Mapping[str, Any], where: str = "study") -> Study:
    """A study from what its file says.

    Args:
        said: the keys of :data:`KEYS`.
        where: for errors.

    Raises:
        ConfigError: an unknown key, row or baseline, a value of the wrong kind, or rows that need
            each other in a circle; names the key.
    """
    _check_keys(said, KEYS, where)
    name = _is(said.get("name"), str, f"{where}: name", "a word")
    _check_name(name, f"{where}: name")
    seeds = _seeds(said.get("seeds", [0]), f"{where}: seeds")
    given = _is(said.get("rows"), dict, f"{where}: rows", "a dict of rows, each with a config")
    if not given:
        raise ConfigError(f"{where}: rows: expected at least one row, got none.")
    common = {
        **_flat(_is(said.get("data") or {}, dict, f"{where}: data", "a dict"), "data"),
        **_flat(_is(said.get("options") or {}, dict, f"{where}: options", "a dict")),
    }
    rows = {key: _row(key, value, common, f"{where}: rows.{key}") for key, value in given.items()}
    baseline = said.get("baseline")
    compared = [row.name for row in rows.values() if row.seed is None]
    if baseline not in compared:
        raise ConfigError(
            f"{where}: baseline: expected one of the rows that are trained with every seed "
            f"({', '.join(compared) or 'there are none'}), got {baseline!r}. Correct the name."
        )
    for row in rows.values():
        _check_needs(row, rows, where)
    _check_circles(rows, where)
    metric = said.get("metric")
    if metric is not None:
        _is(metric, str, f"{where}: metric", "the name of a score, as 'bbox_mAP'")
    work = _is(said.get("work_dir", f"work_dirs/{name}"), str, f"{where}: work_dir", "a folder")
    return Study(name, Path(work), str(baseline), seeds, rows, metric)


def _row(name: str, said: Any, common: Mapping[str, Any], where: str) -> Row:
    _check_name(name, where)
    said = {"config": said} if isinstance(said, str) else said
    _is(said, dict, where, "a dict with the key config")
    _check_keys(said, ROW_KEYS, where)
    config = _is(said.get("config"), str, f"{where}.config", "the path of a config")
    options = _flat(_is(said.get("options") or {}, dict, f"{where}.options", "a dict"))
    needs = said.get("needs") or ()
    needs = [needs] if isinstance(needs, str) else list(_is(needs, (list, tuple), f"{where}.needs",
                                                            "a list of rows"))  # fmt: skip
    for need in needs:
        _is(need, str, f"{where}.needs", "names of rows")
    seed = said.get("seed")
    if seed is not None:
        _check_seed(seed, f"{where}.seed")
    alone = _is(said.get("student_only", False), bool, f"{where}.student_only", "True or False")
    label = _is(said.get("label", name), str, f"{where}.label", "text")
    options = {**common, **options}
    named = [found for value in options.values() for found in folders_in(value)]
    needs = tuple(dict.fromkeys([*needs, *named]))
    return Row(name, config, label, options, needs, seed, alone)


def folders_in(value: Any) -> Iterator[str]:
    """The rows that an option's value names as ``{row}``."""
    if isinstance(value, str):
        yield from FOLDER_OF.findall(value)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from folders_in(one)


def _flat(options: Mapping[str, Any], prefix: str = "") -> Dict[str, Any]:
    """Dicts in options as dotted keys: a command line has no dicts.

    >>> _flat({"runner": {"max_epochs": 1}, "a.b": 2}, "x")
    {'x.runner.max_epochs': 1, 'x.a.b': 2}
    """
    out: Dict[str, Any] = {}
    for key, value in options.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        out.update(_flat(value, name) if isinstance(value, Mapping) and value else {name: value})
    return out


# --------------------------------------------------------------------------- checks
def _is(value: Any, kinds: Any, where: str, expected: str) -> Any:
    if not isinstance(value, kinds) or value == "":
        came = "nothing" if value is None else repr(value)
        raise ConfigError(f"{where}: expected {expected}, got {came}.")
    return value


def _check_name(name: Any, where: str) -> None:
    if not isinstance(name, str) or not _NAME.match(name):
        raise ConfigError(
            f"{where}: expected a name of letters, digits, '_', '-' and '.' (and not 'seed0'), "
            f"for folders are called so; got {name!r}. 'label' may be any text."
        )


def _seeds(seeds: Any, where: str) -> Tuple[int, ...]:
    for seed in _is(seeds, (list, tuple), where, "a list of numbers"):
        _check_seed(seed, where)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"{where}: expected different numbers, got {list(seeds)}.")
    return tuple(seeds)


def _check_seed(seed: Any, where: str) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ConfigError(f"{where}: expected numbers from 0 to 2**32 - 1, got {seed!r}.")


def _check_keys(said: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in said:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise ConfigError(
                f"{where}: expected the keys {', '.join(known)}, got {key!r}"
                f"{f'; the nearest is {near[0]}' if near else ''}. Rename or remove it."
            )


def _check_needs(row: Row, rows: Mapping[str, Row], where: str) -> None:
    for need in row.needs:
        if need not in rows:
            near = difflib.get_close_matches(str(need), rows, n=1)
            raise ConfigError(
                f"{where}: rows.{row.name} needs {need!r} (by 'needs', or as {{{need}}} in an "
                f"option): expected one of the rows {', '.join(rows)}"
                f"{f'; the nearest is {near[0]}' if near else ''}. Correct the name."
            )
        if row.seed is not None and rows[need].seed is None:
            raise ConfigError(
                f"{where}: rows.{row.name} is trained once (seed={row.seed}) and needs "
                f"rows.{need}, which is trained with every seed: expected one run. Give "
                f"rows.{need} a seed of its own, or remove that of rows.{row.name}."
            )


def _check_circles(rows: Mapping[str, Row], where: str) -> None:
    done: Set[str] = set()

    def visit(name: str, path: List[str]) -> None:
        if name in path:
            circle = " -> ".join([*path[path.index(name) :], name])
            raise ConfigError(
                f"{where}: rows need each other in a circle, so that none can be first: {circle}. "
                "Remove one of these from 'needs' and from the options."
            )
        if name not in done:
            for need in rows[name].needs:
                visit(need, [*path, name])
            done.add(name)

    for name in rows:
        visit(name, [])
