"""What a report is made of: the runs, tables, analyses and pictures below the work folders.

Everything is found by name and read as data. What cannot be read is left out and said in a note;
only a report without any run, or over runs of different data sets, is refused.
"""

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

from freekd.analysis.logs import SUFFIX, Run, check_same_data, name_apart, read_run
from freekd.config.errors import ConfigError
from freekd.fileio import UnreadableFileError
from freekd.study.rows import BASELINE

ANALYSES = ("robustness", "confusion", "errors")
DEPTH = 6
MAX_JSON = 32 * 2**20  # bytes; a study of a thousand runs has less than one megabyte
_SEED = re.compile(r"seed_?(\d+)")


class ReportError(ValueError):
    """What a report cannot be made of; the message says what to do."""


@dataclass
class Item:
    """One training run and its place in the report.

    Attributes:
        run: what its logs say.
        row: runs of one row differ by seed alone.
        label: what the row is called.
        seed: None where nothing tells it.
    """

    run: Run
    row: str
    label: str
    seed: Optional[int]


@dataclass
class Found:
    """A json file that a tool left, and where."""

    file: Path
    content: Dict[str, Any]


@dataclass
class Material:
    """All of it; the lists are empty where there is nothing.

    Attributes:
        folders: each with rows of its own: the work folders, and each study below one of them.
        given: the work folders; as ``folders`` if nobody says it.
    """

    folders: List[Path]
    given: List[Path] = field(default_factory=list)
    items: List[Item] = field(default_factory=list)
    summaries: List[Found] = field(default_factory=list)
    studies: List[Found] = field(default_factory=list)
    analyses: Dict[str, List[Found]] = field(default_factory=dict)
    pictures: List[Path] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.given = self.given or self.folders
        self._prefixes = _prefixes(self.folders)

    def prefix(self, folder: Path) -> str:
        """What the rows of a folder begin with; nothing if it is the only one."""
        return self._prefixes[folder]

    def home(self, path: Path) -> Optional[Path]:
        """The nearest of the folders that a run or a file lies in."""
        above = (path.resolve(), *path.resolve().parents)
        known = [folder for folder in self.folders if folder.resolve() in above]
        return max(known, key=lambda folder: len(folder.resolve().parts), default=None)

    def count(self) -> int:
        """How much there is to report; pictures alone are nothing."""
        analyses = sum(len(found) for found in self.analyses.values())
        return len(self.items) + len(self.studies) + len(self.summaries) + analyses


def gather(folders: Sequence[Path]) -> Material:
    """Look through work folders.

    Raises:
        ReportError: no folder, nothing to report in it, or runs of different data sets.
    """
    unique = list({folder.resolve(): folder for folder in folders}.values())
    parts = [part for folder in unique for part in (*_studies_below(folder), folder)]
    parts = list({part.resolve(): part for part in parts}.values())
    material = Material(parts, unique, analyses={kind: [] for kind in ANALYSES})
    for folder in parts:
        _look_into(folder, material, material.prefix(folder))
    runs = [item.run for item in material.items]
    name_apart(runs)
    try:
        check_same_data(runs)
    except ConfigError as error:
        raise ReportError(f"{error} Make one report for each data set.") from error
    for run in runs:
        material.notes += run.notes
    return material


def _studies_below(folder: Path) -> List[Path]:
    """Where several studies or quickstarts lie: rows of two may have one name."""
    found = []
    for place, names in _walk(folder) if folder.is_dir() else ():
        contents = [_read(place / f"{name}.json", []) for name in ("study", "summary")
                    if f"{name}.json" in names]  # fmt: skip
        said = [one.content for one in contents if one]
        if any(c.get("kind") == "study" or isinstance(c.get("students"), dict) for c in said):
            found.append(place)
    return found if len(found) > 1 else []


def _prefixes(folders: Sequence[Path]) -> Dict[Path, str]:
    """As many of the last parts of each path as it takes to tell it from the others."""
    paths = [folder.resolve().parts for folder in folders]
    found = {}
    for folder, own in zip(folders, paths):
        length, others = 1, [path for path in paths if path != own]
        while length < len(own) and any(path[-length:] == own[-length:] for path in others):
            length += 1
        found[folder] = "/".join(own[-length:]) + "/" if others else ""
    return found


def _look_into(folder: Path, material: Material, prefix: str) -> None:
    if not folder.is_dir():
        came = "a file" if folder.exists() else "nothing"
        raise ReportError(
            f"WORK_DIR: expected a folder that a training run left, found {came} at {folder}. "
            "Name the folder given to tools/train.py --work-dir, or one above several of them."
        )
    before = material.count()
    said = len(material.notes)
    places: List[Path] = []
    for place, names in _walk(folder):
        if material.home(place) != folder:  # it is looked into by itself
            continue
        if any(name.endswith(SUFFIX) for name in names):
            places.append(place)
        _keep_files(place, names, material)
    known = {item.run.folder.resolve() for item in material.items}
    for place in places:
        if place.resolve() in known:  # one WORK_DIR lies in another
            continue
        try:
            run = read_run(place)
        except (UnreadableFileError, OSError) as error:
            material.notes.append(f"{_short(place, folder)}: left out. {error}")
            continue
        material.items.append(_item(run, place, folder, material, prefix))
    material.items.sort(key=lambda item: _order(item, material))
    inner = any(folder.resolve() in part.resolve().parents for part in material.folders)
    if material.count() == before and not inner:
        none = f"It holds no log (<time>{SUFFIX}) down to {DEPTH} levels"
        why = " ".join(material.notes[said:]) or none
        raise ReportError(
            f"WORK_DIR: expected a training run in {folder}, found none. {why.rstrip('.')}. Name "
            "the folder given to tools/train.py --work-dir, or a folder above several of them."
        )


def _walk(folder: Path) -> Iterator[Any]:
    """Folders and the names of their files; hidden ones and runs that were put aside left out."""
    for place, below, names in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        below[:] = sorted(
            name
            for name in below
            if depth < DEPTH and not name.startswith(".") and ".before-" not in name
        )
        yield Path(place), sorted(names)


def _keep_files(place: Path, names: Sequence[str], material: Material) -> None:
    for name in names:
        file = place / name
        if place.name == "pictures" and name.lower().endswith(".png"):
            material.pictures.append(file)
        if name == "summary.json":
            found = _read(file, material.notes)
            if found and isinstance(found.content.get("students"), dict):
                material.summaries.append(found)
        for kind in ("study", *ANALYSES):
            if name == f"{kind}.json":
                found = _read(file, material.notes)
                if found and found.content.get("kind") == kind:
                    (material.studies if kind == "study" else material.analyses[kind]).append(found)


def _read(file: Path, notes: List[str]) -> Optional[Found]:
    try:
        if file.stat().st_size > MAX_JSON:
            raise ValueError(f"it has more than {MAX_JSON // 2**20} MiB")
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        notes.append(f"{file}: left out, since {error}. Make it again by the tool that wrote it.")
        return None
    return Found(file, content)


# --------------------------------------------------------------------------- rows and labels
def _item(run: Run, place: Path, folder: Path, material: Material, prefix: str) -> Item:
    parts = list(place.relative_to(folder).parts)
    seeds = [int(match.group(1)) for match in map(_SEED.fullmatch, parts) if match]
    row = "/".join(part for part in parts if not _SEED.fullmatch(part)) or folder.resolve().name
    seed = run.meta.get("seed")
    seed = seed if isinstance(seed, int) else seeds[-1] if seeds else None
    told = _of_study(place, material)
    if told:
        row = str(told.get("row") or row)
        seed = told["seed"] if isinstance(told.get("seed"), int) else seed
    label = str((told or {}).get("label") or _label(row, material) or row)
    return Item(run, prefix + row, prefix + label, seed)


def _of_study(place: Path, material: Material) -> Optional[Dict[str, Any]]:
    """What a study says of the run in this folder."""
    for study in material.studies:
        for run in dicts(study.content.get("runs")):
            named = run.get("work_dir")
            if not isinstance(named, str):
                continue
            options = {Path(named).resolve(), (study.file.parent / named).resolve()}
            ends = Path(named).parts[-2:] == place.resolve().parts[-2:]  # the tree was moved
            if place.resolve() in options or (ends and study.file.parent in place.parents):
                return run
    return None


def _label(row: str, material: Material) -> Optional[str]:
    for summary in material.summaries:
        entry = summary.content["students"].get(row)
        if isinstance(entry, dict) and isinstance(entry.get("label"), str):
            return str(entry["label"])
    return "prompts, in the teacher" if row == "prompts" else None


def _order(item: Item, material: Material) -> Any:
    """Teacher, prompts, the student alone, then as the tables have the rows."""
    row = item.row.rpartition("/")[2]
    first = ["teacher", "prompts", BASELINE]
    told = [str(r.get("row")) for s in material.studies for r in dicts(s.content.get("rows"))]
    told += [name for summary in material.summaries for name in summary.content["students"]]
    names = [*first, *told]
    place = names.index(row) if row in names else len(names)
    return (place, item.row, item.seed if item.seed is not None else -1)


def dicts(value: Any) -> List[Dict[str, Any]]:
    """The records of a list; nothing of what is no list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _short(place: Path, folder: Path) -> str:
    return str(Path(folder.resolve().name) / place.relative_to(folder))
