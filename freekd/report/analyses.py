"""Robustness, confusion and errors: the tables of what ``tools/analysis/`` left, as they are."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Tuple

from freekd.report.images import Album
from freekd.report.material import Found, Material, dicts

TITLES = {
    "robustness": "Robustness",
    "confusion": "Confusion matrix",
    "errors": "Kinds of mistakes",
}
_PLAIN = (str, int, float, bool, type(None))


@dataclass
class Table:
    """Text cells, as they are shown."""

    title: str
    head: List[str]
    rows: List[List[str]]


Tables = Tuple[List[Table], List[Table]]


@dataclass
class Section:
    """One analysis: tables in sight, and folded ones."""

    kind: str
    title: str
    said: str
    first: List[Table] = field(default_factory=list)
    tables: List[Table] = field(default_factory=list)
    pictures: List[Tuple[str, str]] = field(default_factory=list)


def sections(material: Material, album: Album) -> List[Section]:
    """All that are readable; what is not is said in a note."""
    made = []
    for kind, title in TITLES.items():
        for found in material.analyses[kind]:
            content = found.content
            section = Section(kind, title, _said(content))
            try:
                section.first, section.tables = _TABLES[kind](content)
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                material.notes.append(
                    f"{found.file}: its tables are left out, since they are not as its tool writes "
                    f"them ({type(error).__name__}: {error}). Make it again by that tool."
                )
            section.pictures = _pictures(found, title, album, material.notes)
            if section.first or section.tables or section.pictures:
                made.append(section)
    return made


def _said(content: Dict[str, Any]) -> str:
    parts = [
        f"{name} {cell(content[key])}"
        for key, name in (
            ("data", "Data:"),
            ("metric", "score"),
            ("iou_thr", "IoU threshold"),
            ("score_thr", "score threshold"),
        )
        if isinstance(content.get(key), (str, int, float))
    ]
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _pictures(
    found: Found, title: str, album: Album, notes: List[str]
) -> List[Tuple[str, str]]:  # fmt: skip
    """Name and data URI; only files that lie beside the json count."""
    pictures = []
    names = found.content.get("pictures")
    for name in names if isinstance(names, list) else []:
        file = found.file.parent / str(name)
        if not isinstance(name, str) or file.parent != found.file.parent or not file.is_file():
            notes.append(f"{found.file}: its picture {name!r} does not lie beside it.")
            continue
        uri = album.whole(file)
        if uri:
            pictures.append((f"{title}: {file.stem.replace('_', ' ')}", uri))
    return pictures


def cell(value: Any) -> str:
    """One value of a table."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return str(value) if isinstance(value, int) else f"{value:.4g}"


# --------------------------------------------------------------------------- each kind
def _robustness(content: Dict[str, Any]) -> Tables:
    corruptions = [str(name) for name in content["corruptions"]]
    severities = [str(severity) for severity in content["severities"]]
    first = Table("All models", ["model", "clean", "mPC", "rPC"], [])
    mean = Table("Mean over the severities", ["model", *corruptions], [])
    tables = [mean]
    for model in content["models"]:
        name = str(model["name"])
        first.rows.append([name, *(cell(model.get(key)) for key in ("clean", "mPC", "rPC"))])
        table = Table(f"{name}: each severity", ["corruption", *severities], [])
        means = []
        for corruption in corruptions:
            scores = model["scores"].get(corruption, {})
            values = [scores.get(severity) for severity in severities]
            there = [v for v in values if isinstance(v, (int, float))]
            means.append(cell(sum(there) / len(there) if there else None))
            table.rows.append([corruption, *map(cell, values)])
        mean.rows.append([name, *means])
        tables.append(table)
    return [first], tables


def _confusion(content: Dict[str, Any]) -> Tables:
    classes = [str(name) for name in content["classes"]]
    tables = []
    for model in content["models"]:
        rows = [[name, *map(cell, row)] for name, row in zip(classes, model["matrix"])]
        title = f"{model['name']}: rows are the truth, columns what was found"
        tables.append(Table(title, ["", *classes], rows))
    return [], tables


def _errors(content: Dict[str, Any]) -> Tables:
    first: List[Table] = []
    tables: List[Table] = []
    plain = [{k: v for k, v in m.items() if isinstance(v, _PLAIN)} for m in content["models"]]
    if any(len(entry) > 2 for entry in plain):
        first += _of_rows("All models", plain, ("config", "checkpoint"))
    for model in content["models"]:
        for key, value in model.items():
            tables += _any(f"{model['name']}: {key.replace('_', ' ')}", value)
    return first, tables


def _any(title: str, value: Any) -> List[Table]:
    """A list of records, or names with numbers, or names with records."""
    if isinstance(value, list) and dicts(value) == value and value:
        return _of_rows(title, value)
    if not isinstance(value, dict) or not value:
        return []
    if all(isinstance(one, _PLAIN) for one in value.values()):
        return [Table(title, ["", "value"], [[str(k), cell(v)] for k, v in value.items()])]
    if all(
        isinstance(one, dict) and all(isinstance(v, _PLAIN) for v in one.values())
        for one in value.values()
    ):
        return _of_rows(title, [{"": name, **one} for name, one in value.items()])
    found = []
    for name, one in value.items():
        found += _any(f"{title}, {name}", one)
    return found


def _of_rows(title: str, records: List[Dict[str, Any]], without: Any = ()) -> List[Table]:
    head = list(
        dict.fromkeys(
            key
            for record in records
            for key, value in record.items()
            if isinstance(value, _PLAIN) and key not in without
        )
    )
    rows = [[cell(record.get(key)) for key in head] for record in records]
    return [Table(title, [str(key).replace("_", " ") for key in head], rows)] if head else []


_TABLES = {"robustness": _robustness, "confusion": _confusion, "errors": _errors}
