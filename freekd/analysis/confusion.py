"""Confusion matrices of one or more models on one data set: ``tools/analysis/confusion.py``."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from freekd import cli, compat
from freekd.analysis.matching import confusion, of_rows
from freekd.analysis.models import file_name
from freekd.words import table

BACKGROUND = "background"
PRINTED = 20  # classes: a wider table is no table
TOOL = "tools/analysis/confusion.py"


class Matrices(NamedTuple):
    """Counts, (K, K) or with a background (K + 1, K + 1), by model."""

    classes: List[str]
    counts: Dict[str, np.ndarray]


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/analysis/confusion.py``; returns the exit code."""
    compat.hide_gpus_if_asked(sys.argv[1:] if argv is None else argv)
    compat.apply()
    from freekd.analysis import models
    from freekd.analysis.results import of_command
    from freekd.engine import friendly

    args = cli.confusion(argv)
    with friendly.friendly_errors() as outcome:
        out, compared = of_command(args, written)
        matrices = count(compared, args.iou_thr, args.score_thr, args.count)
        boxes = compared.truth is not None
        record = {
            "kind": "confusion",
            "task": compared.task,
            "data": compared.data,
            "classes": matrices.classes,
            "iou_thr": args.iou_thr if boxes else None,
            "score_thr": args.score_thr if boxes else None,
            "counting": args.count if boxes else None,
            "models": [
                {
                    "name": one.model.name,
                    "config": one.model.config,
                    "checkpoint": one.model.checkpoint,
                    "matrix": matrices.counts[one.model.name].tolist(),
                }
                for one in compared.models
            ],
            "versions": models.versions(),
            "command": models.command(TOOL, argv),
        }
        write(matrices, record, out)
        print(f"\nwritten: {out}/confusion.json, confusion.png and a .csv file for each model")
    return outcome.code


def written(chosen: Sequence[Any]) -> List[str]:
    """The files for these models."""
    return ["confusion.json", "confusion.png", *(csv_name(one.name) for one in chosen)]


def csv_name(model: str) -> str:
    """The file of a model's counts."""
    return f"confusion_{file_name(model)}.csv"


def count(compared: Any, iou_thr: float, score_thr: float, counting: str) -> Matrices:
    """The matrices of :class:`freekd.analysis.results.Compared`."""
    if compared.truth is None:  # pixels or images: counted already
        counts = {one.model.name: sum(one.counts.values()) for one in compared.models}
        return Matrices(compared.classes, counts)
    counts = {
        one.model.name: confusion(
            compared.truth, one.found, len(compared.classes), iou_thr, score_thr, counting
        )
        for one in compared.models
    }
    return Matrices([*compared.classes, BACKGROUND], counts)


def write(matrices: Matrices, record: Dict[str, Any], out: Path) -> None:
    """Print the tables; write the pictures, ``.csv`` files and last ``confusion.json``."""
    from freekd.analysis.pictures import draw_confusion
    from freekd.fileio import atomic_write_text

    for name, counts in matrices.counts.items():
        print(f"\n{name}: labelled as the row, found as the column")
        print("\n".join(as_table(matrices.classes, counts)))
        atomic_write_text(out / csv_name(name), as_csv(matrices.classes, counts))
    record["pictures"] = [draw_confusion(matrices, out / "confusion.png").name]
    atomic_write_text(out / "confusion.json", json.dumps(record, indent=1) + "\n")


def as_table(classes: List[str], counts: np.ndarray) -> List[str]:
    """The counts in columns; of many classes the largest mistakes only."""
    if len(classes) <= PRINTED + 1:
        rows = [[name, *(str(n) for n in row)] for name, row in zip(classes, counts.tolist())]
        return table(["", *classes], rows)
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PRINTED]
    shares = of_rows(counts)
    places = [np.unravel_index(place, wrong.shape) for place in order]
    rows = [
        [classes[i], classes[j], str(wrong[i, j]), f"{100 * shares[i, j]:.1f} %"]
        for i, j in places
        if wrong[i, j]
    ]
    return table(["labelled", "found", "count", "of the row"], rows)


def as_csv(classes: List[str], counts: np.ndarray) -> str:
    """The counts with a head line; the first column names the row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["labelled as", *classes])
    writer.writerows([name, *row] for name, row in zip(classes, counts.tolist()))
    return text.getvalue()
