"""From material to HTML: one file that needs no network and runs no script but its own.

The template escapes every text (logs, configs and names are other people's); the page's policy
admits no source but ``data:`` pictures, and the page's own script and style by their hashes.
"""

import base64
import hashlib
import json
import os
from pathlib import Path

import freekd
from freekd.report.analyses import sections
from freekd.report.chart_list import data, first_shown, groups, legend
from freekd.report.curves import charts
from freekd.report.figures import all_scores, columns, headline, track
from freekd.report.images import Album
from freekd.report.material import Material
from freekd.report.origin import origin
from freekd.report.results import is_reference, results
from freekd.report.text import score, signed
from freekd.words import duration, number

HERE = Path(__file__).resolve().parent
MARK = "freekd-report"
REFERENCES = {"teacher": "a teacher", "prompts": "its prompts"}


def render(material: Material, out: Path) -> str:
    """The page, as it will lie at ``out``."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    table = results(material)
    found = charts(material)
    rows = list(dict.fromkeys(line.row for chart in found for line in chart.lines))
    shown, free = first_shown(rows, table, found)
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
        has=columns(table),
        headline=headline(table),
        track=track(table),
        scores=all_scores(material),
        groups=groups(found, order),
        legend=legend(free, shown, order, labels),
        what=what(material),
        pictures=pictures,
        analyses=analyses,
        origin=made,
        notes=list(dict.fromkeys(material.notes)),
        data=data(found, order, pictures),
        version=freekd.__version__,
    )


def title(material: Material) -> str:
    """The names of the folders."""
    return ", ".join(folder.resolve().name for folder in material.given)


def mark(material: Material, out: Path) -> str:
    """What the page says of itself: from which folders it was made, as seen from its own."""
    home = out.resolve().parent
    return json.dumps(sorted(os.path.relpath(f.resolve(), home) for f in material.given))


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
