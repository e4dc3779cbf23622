"""From material to HTML: one file that needs no network and runs no script but its own.

The template escapes every text (logs, configs and names are other people's); the page's policy
admits no source but ``data:`` pictures, and the page's own script and style by their hashes.
"""

import base64
import hashlib
import json
import os
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import freekd
from freekd.report.analyses import sections
from freekd.report.chart import draw, scales, style_of
from freekd.report.curves import Chart, charts
from freekd.report.images import Album
from freekd.report.material import Material
from freekd.report.origin import origin
from freekd.report.results import Result, Results, is_reference, last_scores, results
from freekd.words import duration, number

HERE = Path(__file__).resolve().parent
MARK = "freekd-report"
FIRST_SHOWN = 5
REFERENCES = {"teacher": "a teacher", "prompts": "its prompts"}
GROUP_TITLES = {
    "scores": "Scores",
    "losses": "Losses",
    "ratios": "Ratios: a distillation term over the task loss",
    "other": "Learning rate, gradients and others",
    "reference": "The teacher and its prompts",
}


def render(material: Material, out: Path) -> str:
    """The page, as it will lie at ``out``."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    table = results(material)
    found = charts(material)
    rows = list(dict.fromkeys(line.row for chart in found for line in chart.lines))
    shown, free = _first_shown(rows, table, found)
    order = [*shown, *(row for row in rows if row not in shown)]  # the shown ones look different
    album = Album(material.notes)
    pictures = album.sets(material.pictures, several=len(material.folders) > 1)
    analyses = sections(material, album)
    made = origin(material, table, out)
    labels = {item.row: item.label for item in material.items}
    script, style = (HERE / name for name in ("page.js", "page.css"))
    texts = {path: path.read_text(encoding="utf-8") for path in (script, style)}
    environment = Environment(
        loader=FileSystemLoader(str(HERE)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(score=score, signed=signed, number=number, duration=duration)
    return environment.get_template("page.html").render(
        title=title(material),
        mark=mark(material, out),
        policy=policy(texts[script], texts[style]),
        script=texts[script],
        style=texts[style],
        table=table,
        has=_columns(table),
        headline=headline(table),
        track=track(table),
        scores=_all_scores(material),
        groups=_groups(found, order),
        legend=_legend(free, shown, order, labels),
        what=what(material),
        pictures=pictures,
        analyses=analyses,
        origin=made,
        notes=list(dict.fromkeys(material.notes)),
        data=_data(found, order, pictures),
        version=freekd.__version__,
    )


def title(material: Material) -> str:
    """The names of the folders."""
    return ", ".join(folder.resolve().name for folder in material.folders)


def mark(material: Material, out: Path) -> str:
    """What the page says of itself: from which folders it was made, as seen from its own."""
    home = out.resolve().parent
    return json.dumps(sorted(os.path.relpath(f.resolve(), home) for f in material.folders))


def policy(script: str, style: str) -> str:
    """The content security policy of the page."""
    hashes = [
        "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
        for text in (script, style)
    ]
    return (
        f"default-src 'none'; img-src data:; script-src {hashes[0]}; style-src {hashes[1]}; "
        "base-uri 'none'; form-action 'none'"
    )


def what(material: Material) -> str:
    """The first sentence, without data and score."""
    students = dict.fromkeys(i.label for i in material.items if not is_reference(i.row))
    rows = {item.row.rpartition("/")[2] for item in material.items}
    others = [text for row, text in REFERENCES.items() if row in rows]
    seeds = sorted({item.seed for item in material.items if item.seed is not None})
    parts = [f"{len(students)} kinds of students"] if len(students) > 1 else list(students)
    said = " and ".join(filter(None, [", ".join([*parts, *others[:-1]]), *others[-1:]]))
    count = len(material.items)
    text = f"{count} training run{'s' if count > 1 else ''}: {said}" if count else "No logs"
    if seeds:
        text += f"; seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return text


# --------------------------------------------------------------------------- numbers as text
def score(value: Optional[float]) -> str:
    """Of a share of 1, three decimals without the zero before them; of 100, two.

    >>> score(0.69773), score(0.7555), score(74.4), score(None), score(-1.0)
    ('.698', '.756', '74.40', '-', '-1.000')
    """
    if value is None:
        return "-"
    digits = "0.01" if abs(value) > 1 else "0.001"
    text = str(Decimal(repr(value)).quantize(Decimal(digits), ROUND_HALF_UP))  # .7555 is .756
    return text[1:] if text.startswith("0.") else text


def signed(value: Optional[float]) -> str:
    """A difference.

    >>> signed(0.17), signed(-0.02), signed(None)
    ('+.170', '-.020', '-')
    """
    if value is None:
        return "-"
    return ("+" if value >= 0 else "-") + score(abs(value))


# --------------------------------------------------------------------------- results
def headline(table: Results) -> List[Dict[str, str]]:
    """The three figures of the first screen: the best student, the student alone, the teacher."""
    students = [row for row in table.rows if not row.reference and row.mean is not None]
    alone = next((row for row in students if row.row == table.baseline), None)
    teacher = next((row for row in table.rows if row.reference and row.mean is not None), None)
    others = [row for row in students if row is not alone]
    best = max(others, key=lambda row: row.mean or 0.0, default=None)
    found = []
    if best:
        said = "highest mean" if len(others) > 1 else "student" if alone or teacher else ""
        found.append(_figure(best, said))
        if best.gain is not None and alone:
            found[0]["gain"] = f"{signed(best.gain)} over {alone.label}"
    if alone:
        found.append(_figure(alone, "baseline"))
    if teacher:
        found.append(_figure(teacher, "teacher"))
    return found


def _figure(row: Result, said: str) -> Dict[str, str]:
    spread = "" if row.std is None else f"± {score(row.std)} over {len(row.by_seed)} seeds"
    return {"said": said, "label": row.label, "value": score(row.mean), "spread": spread,
            "gain": ""}  # fmt: skip


def _columns(table: Results) -> Dict[str, bool]:
    names = ("std", "gain", "gain_low", "parameters", "seconds", "step_ms", "status")
    found = {n: any(getattr(row, n) not in (None, "") for row in table.rows) for n in names}
    return {**found, "by_seed": any(len(row.by_seed) > 1 for row in table.rows)}


def track(table: Results) -> Dict[str, Any]:
    """For the small picture in each row: row -> x of the mean, of each seed; 0 to 150."""
    values = [v for row in table.rows for v in (*row.by_seed.values(), row.mean) if v is not None]
    if len(values) < 2 or min(values) == max(values):
        return {}
    low, high = min(values), max(values)

    def place(value: float) -> float:
        return round(6 + 138 * (value - low) / (high - low), 1)

    return {
        row.row: {
            "mean": place(row.mean),
            "seeds": [place(v) for v in row.by_seed.values()],
            "ends": [place(min([*row.by_seed.values(), row.mean])),
                     place(max([*row.by_seed.values(), row.mean]))],
        }
        for row in table.rows
        if row.mean is not None
    }  # fmt: skip


def _all_scores(material: Material) -> Dict[str, Any]:
    """Every score of the last evaluation of each run, digit by digit as logged."""
    runs = [(item.run.name, last_scores(item.run)) for item in material.items]
    keys = list(dict.fromkeys(key for _, scores in runs for key in scores))
    rows = [[name, *(_exact(scores.get(key)) for key in keys)] for name, scores in runs if scores]
    return {"head": ["run", *keys], "rows": rows}


def _exact(value: Optional[float]) -> str:
    return "" if value is None else f"{value:.6g}"


# --------------------------------------------------------------------------- curves
def _groups(found: Sequence[Chart], order: Sequence[str]) -> List[Dict[str, Any]]:
    groups = []
    for key, name in GROUP_TITLES.items():
        own = [(i, chart) for i, chart in enumerate(found) if chart.group == key]
        drawn = [
            {
                "id": f"chart{i}",
                "key": chart.key,
                "svg": draw(chart, order, f"chart{i}"),
                "log": scales(chart)[1].log,
                "note": chart.note,
                "lines": [
                    {
                        "index": order.index(line.row),
                        "style": style_of(order.index(line.row)),
                        "label": line.label,
                        "seeds": line.seeds,
                        "last": number(list(line.points.values())[-1][0]),
                    }
                    for line in chart.lines
                ],
                "rows": [
                    [
                        str(step),
                        *(_exact(line.points.get(step, (None,))[0]) for line in chart.lines),
                    ]
                    for step in chart.steps
                ],
            }
            for i, chart in own
            if chart.is_curve
        ]
        points = [chart.key for _, chart in own if not chart.is_curve]
        if drawn or points:
            groups.append({"key": key, "title": name, "charts": drawn, "points": points})
    return groups


def _first_shown(
    rows: Sequence[str], table: Results, found: Sequence[Chart]
) -> Tuple[List[str], List[str]]:
    """Which lines are there at first: all that are few, else the baseline and the best students.

    Returns:
        Those rows, and all rows that can be hidden. What is apart (a teacher) always stays.
    """
    apart = {line.row for chart in found if chart.group == "reference" for line in chart.lines}
    free = [row for row in rows if row not in apart]
    means = {row.row: row.mean or 0.0 for row in table.rows}
    ranked = sorted(free, key=lambda row: (row != table.baseline, -means.get(row, 0.0)))
    return (free if len(free) <= FIRST_SHOWN else ranked[:FIRST_SHOWN]), free


def _legend(
    free: Sequence[str], shown: Sequence[str], order: Sequence[str], labels: Dict[str, str]
) -> List[Dict[str, Any]]:
    return [
        {
            "index": order.index(row),
            "style": style_of(order.index(row)),
            "label": labels[row],
            "shown": row in shown,
        }
        for row in free
    ]


def _data(found: Sequence[Chart], order: Sequence[str], pictures: Sequence[Any]) -> Dict[str, Any]:
    """What the page's script reads."""
    drawn = {}
    for i, chart in enumerate(found):
        if not chart.is_curve:
            continue
        across, _ = scales(chart)
        drawn[f"chart{i}"] = {
            "steps": chart.steps,
            "x": [across(step) for step in chart.steps],
            "values": {
                str(order.index(line.row)): [
                    number(line.points[step][0]) if step in line.points else ""
                    for step in chart.steps
                ]
                for line in chart.lines
            },
        }
    return {"charts": drawn, "pictures": [shown.images for shown in pictures]}
