"""What was run: data, seeds, versions, configs, checkpoints, and the commands to repeat it."""

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import quote

from freekd.report.material import Item, Material
from freekd.report.results import Results

_VERSION = re.compile(
    r"^(Python|PyTorch|TorchVision|OpenCV|MMCV|MMDetection|MMRazor|GPU [\d,]+):(.*)"
)
MOST_TEXT = 60_000  # characters of one config


@dataclass
class File:
    """A file to link to: its path from the page, or None if it is not there."""

    name: str
    link: Optional[str]
    size: str = ""


@dataclass
class Made:
    """How one row was made."""

    row: str
    label: str
    seeds: List[str]
    iterations: int
    config_name: str
    config: str
    commands: List[str]
    files: List[File] = field(default_factory=list)


@dataclass
class Origin:
    """For the page's section of the same name."""

    data: str
    seeds: List[str]
    versions: Dict[str, str]
    machine: str
    rows: List[Made]
    commands: List[Tuple[str, str]]


def origin(material: Material, table: Results, page: Path) -> Origin:
    """Everything that a person needs to make the numbers again."""
    told: Dict[str, str] = {}
    machine, commands = "", []
    for found in [*material.studies, *material.summaries]:
        versions = found.content.get("versions")
        if isinstance(versions, dict):
            told.update({str(name): str(version) for name, version in versions.items()})
        machine = machine or _text(found.content.get("machine"))
        if found.content.get("command"):
            commands.append((found.file.parent.name, _text(found.content["command"])))
    for summary in material.summaries:
        if not any(summary.file.parent == study.file.parent for study in material.studies):
            commands += _quickstart(summary.content)
    for item in material.items:
        for name, version in _logged_versions(item).items():
            known = told.setdefault(name, version)
            if version not in known.split(" or ") and name not in ("torch", "python"):
                told[name] = f"{known} or {version}"
    for kind in material.analyses.values():
        commands += [(f.content["kind"], _text(f.content["command"])) for f in kind
                     if f.content.get("command")]  # fmt: skip
    data = list(dict.fromkeys(item.run.data for item in material.items if item.run.data))
    of_study = [_text(study.content.get("data")) for study in material.studies]
    seeds = sorted({item.seed for item in material.items if item.seed is not None})
    folders = [shlex.quote(os.path.relpath(folder)) for folder in material.given]
    commands.append(("this page", f"python tools/report.py {' '.join(folders)}"))
    return Origin(
        data=", ".join(data or filter(None, of_study)),
        seeds=[str(seed) for seed in seeds],
        versions=told,
        machine=machine,
        rows=_rows(material, table, page),
        commands=commands,
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return shlex.join(str(part) for part in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return str(value)


def _quickstart(content: Dict[str, Any]) -> List[Tuple[str, str]]:
    """The command of a summary without a study: before version 0.3 a quickstart left no other."""
    seeds, plan = content.get("seeds"), content.get("plan")
    if not isinstance(seeds, list) or not isinstance(plan, dict):
        return []
    parts = ["bash tools/quickstart.sh", "--seeds", *map(str, seeds)]
    parts += ["--methods", *map(str, content["students"]), "--schedule", *map(str, plan.values())]
    return [("all of it", " ".join(parts))]


def _logged_versions(item: Item) -> Dict[str, str]:
    found = {}
    for line in str(item.run.meta.get("env_info") or "").splitlines():
        match = _VERSION.match(line)
        if match:
            name = {"PyTorch": "torch", "Python": "python", "MMCV": "mmcv-full"}.get(
                match.group(1), match.group(1)
            )
            found[name] = match.group(2).split("[")[0].split("(")[0].strip()
    return found


# --------------------------------------------------------------------------- rows
def _rows(material: Material, table: Results, page: Path) -> List[Made]:
    by_row: Dict[str, List[Item]] = {}
    for item in material.items:
        by_row.setdefault(item.row, []).append(item)
    told = {row.row: row for row in table.rows}
    made = []
    for row, items in by_row.items():
        meta = items[0].run.meta
        text = str(meta.get("config") or "")
        if len(text) > MOST_TEXT:
            text = text[:MOST_TEXT] + "\n... (cut here; the config lies beside the log)"
        command = told[row].command if row in told else ""
        made.append(
            Made(
                row,
                items[0].label,
                [str(item.seed) for item in items if item.seed is not None],
                max((line["step"] for item in items for line in item.run.train), default=0),
                str(meta.get("exp_name") or ""),
                text,
                [command] if command else _commands(items[0]),
                [file for item in items for file in checkpoints(item, page, material.notes)]
                + _exported(row, material, page),
            )
        )
    return made


def _commands(item: Item) -> List[str]:
    """With the config that the run left; it has every value spelled out."""
    config = item.run.folder / str(item.run.meta.get("exp_name") or "?")
    if not config.is_file():
        return []
    again = item.run.folder.with_name(f"{item.run.folder.resolve().name}_again")
    seed = "" if item.seed is None else f" --seed {item.seed}"
    where, out = (shlex.quote(os.path.relpath(path)) for path in (config, again))
    return [f"python tools/train.py {where} --work-dir {out}{seed}"]


def checkpoints(item: Item, page: Path, notes: List[str]) -> List[File]:
    """The last checkpoint of a run, its best one, and its prompts; a note where none is left."""
    folder = item.run.folder
    name = item.run.name
    latest = folder / "latest.pth"
    last = [latest] if latest.is_file() else _newest(folder)
    best = sorted(path for path in folder.glob("best_*.pth") if path.is_file())
    prompts = [path for path in (folder / "prompts.pth",) if path.is_file()]
    if not last:
        lost = " (latest.pth leads to a file that is gone)" if latest.is_symlink() else ""
        notes.append(f"{folder}: there is no checkpoint in it{lost}.")
        return [File(f"{name}: no checkpoint", None)]
    return [link(path.resolve(), page, name) for path in dict.fromkeys([*last, *best, *prompts])]


def _newest(folder: Path) -> List[Path]:
    files = [path for path in folder.glob("*.pth") if path.name != "prompts.pth" and path.is_file()]
    return sorted(files, key=lambda path: path.stat().st_mtime)[-1:]


def _exported(row: str, material: Material, page: Path) -> List[File]:
    """The student-only file of the quickstart."""
    files = []
    for summary in material.summaries:
        entry = summary.content["students"].get(row.rpartition("/")[2])
        named = entry.get("checkpoint") if isinstance(entry, dict) else None
        home = material.home(summary.file)
        if not isinstance(named, str) or home is None or not row.startswith(material.prefix(home)):
            continue
        path = summary.file.parent / Path(named).name
        if path.is_file():
            files.append(link(path, page, "student only"))
        else:
            material.notes.append(f"{path}: the student-only checkpoint is not there.")
            files.append(File(f"student only: {path.name} is not there", None))
    return files


def link(path: Path, page: Path, name: str) -> File:
    """From the page to a file, so that both can be moved together."""
    relative = os.path.relpath(path, page.resolve().parent)
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    return File(f"{name}: {path.name}", quote(Path(relative).as_posix()), size)
