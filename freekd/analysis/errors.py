"""What models get wrong on one data set: ``tools/analysis/errors.py``."""

import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np

from freekd import cli, compat
from freekd.words import table

TOOL = "tools/analysis/errors.py"
PRINTED = 20  # classes; the file has all
_SHARES = ("IoU", "recall", "precision")


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/analysis/errors.py``; returns the exit code."""
    compat.hide_gpus_if_asked(sys.argv[1:] if argv is None else argv)
    compat.apply()
    from freekd.analysis import models
    from freekd.analysis.results import of_command
    from freekd.engine import friendly
    from freekd.fileio import atomic_write_text

    args = cli.errors(argv)
    with friendly.friendly_errors() as outcome:
        out, compared = of_command(args, lambda _: ["errors.json", "errors.png", "curves.png"])
        record: Dict[str, Any] = {"kind": "errors", "task": compared.task}
        record.update(data=compared.data, classes=compared.classes)
        record.update(of_counts(compared) if compared.truth is None else of_boxes(compared, args))
        record["pictures"] = _draw(record, out)
        record.update(versions=models.versions(), command=models.command(TOOL, argv))
        atomic_write_text(out / "errors.json", json.dumps(record, indent=1) + "\n")
        print("\n".join(as_text(record)))
        print(f"\nwritten: {', '.join(str(out / n) for n in ('errors.json', *record['pictures']))}")
    return outcome.code


def _draw(record: Dict[str, Any], out: Path) -> List[str]:
    from freekd.analysis import error_pictures

    return [path.name for path in error_pictures.draw(record, out)]


def _named(model: Any) -> Dict[str, Any]:
    return {"name": model.name, "config": model.config, "checkpoint": model.checkpoint}


# --------------------------------------------------------------------------- objects
def of_boxes(compared: Any, args: Any) -> Dict[str, Any]:
    """AP and mistakes of each model, and each but the first compared with the first."""
    from freekd.analysis import fates, mistakes
    from freekd.analysis.precision import evaluate, tables

    rows, seen = [], []
    for one in compared.models:
        evaluation = evaluate(compared.truth, one.found, len(compared.classes))
        judged = mistakes.judge(compared.truth, one.found, evaluation)
        view = fates.see(compared.truth, one.found, judged, args.score_thr)
        seen.append(view)
        shown = np.concatenate([np.array([], dtype=object), *view.kinds])
        rows.append(
            {
                **_named(one.model),
                **tables(evaluation, compared.classes),
                "cost": mistakes.costs(judged),
                "detections": {
                    kind: int((shown == kind).sum())
                    for kind in (mistakes.RIGHT, *mistakes.KINDS[:-1])
                },
                "objects": {fate: int((view.fates == fate).sum()) for fate in fates.FATES},
            }
        )
    first = compared.models[0].model.name
    return {
        "iou_thr": {"foreground": mistakes.FOREGROUND, "background": mistakes.BACKGROUND},
        "score_thr": args.score_thr,
        "models": rows,
        "compared": [
            fates.compare(first, seen[0], one.model.name, view)
            for one, view in zip(compared.models[1:], seen[1:])
        ],
    }


# --------------------------------------------------------------------------- pixels, images
def of_counts(compared: Any) -> Dict[str, Any]:
    """IoU, recall and precision of each class, in each region of the images."""
    rows = []
    for one in compared.models:
        regions = dict(one.counts)
        if len(regions) > 1:
            regions = {"all": sum(regions.values()), **regions}
        row = {"regions": {name: _shares(n, compared.classes) for name, n in regions.items()}}
        rows.append({**_named(one.model), **row})
    return {"models": rows}


def _shares(counts: np.ndarray, classes: List[str]) -> Dict[str, Any]:
    right, labelled, found = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)

    def share(of: np.ndarray, label: int) -> Optional[float]:
        return round(float(right[label] / of[label]), 6) if of[label] else None

    by_class = {
        name: {
            "IoU": share(labelled + found - right, label),
            "recall": share(labelled, label),
            "precision": share(found, label),
            "count": int(labelled[label]),
        }
        for label, name in enumerate(classes)
    }
    total = int(counts.sum())
    values = [row["IoU"] for row in by_class.values() if row["IoU"] is not None]
    return {
        "accuracy": round(float(right.sum()) / total, 6) if total else None,
        "mIoU": round(float(np.mean(values)), 6) if values else None,
        "by_class": by_class,
    }


# --------------------------------------------------------------------------- in words
def share(value: Optional[float], digits: int = 1) -> str:
    """In percent.

    >>> share(0.756), share(None)
    ('75.6', '-')
    """
    return "-" if value is None else f"{100 * value:.{digits}f}"


def as_text(record: Dict[str, Any]) -> List[str]:
    """The tables of ``errors.json`` as lines."""
    return _text_of_boxes(record) if "compared" in record else _text_of_counts(record)


def _text_of_boxes(record: Dict[str, Any]) -> List[str]:
    from freekd.analysis.mistakes import KINDS, OF_DETECTIONS
    from freekd.analysis.precision import SIZES

    models, names = record["models"], [one["name"] for one in record["models"]]
    lines = ["", "AP in percent"]
    rows = [
        [one["name"], *(share(one[key]) for key in ("AP", "AP50", "AP75"))]
        + [share(one["by_size"][size]["AP"]) for size in SIZES]
        for one in models
    ]
    sizes = [f"{size} ({models[0]['by_size'][size]['objects']})" for size in SIZES]
    lines += table(["", "AP", "AP50", "AP75", *sizes], rows)
    classes = record["classes"][:PRINTED]
    lines += ["", "AP of each class in percent"]
    rows = [
        [c, str(models[0]["by_class"][c]["objects"])]
        + [share(one["by_class"][c]["AP"]) for one in models]
        for c in classes
    ]
    lines += table(["", "objects", *names], rows)
    lines += ["", "What each kind of mistake costs: AP50 in percent if it were mended"]
    kinds = (*KINDS, "false positive", "false negative")
    rows = [[one["name"], *(share(one["cost"][kind]) for kind in kinds)] for one in models]
    lines += table(["", *kinds], rows)
    lines += [
        "",
        f"At a score of {record['score_thr']} or more: objects, and detections of two kinds",
    ]
    fates, kinds = list(models[0]["objects"]), OF_DETECTIONS
    rows = []
    for one in models:
        counts = [one["objects"][fate] for fate in fates]
        counts += [one["detections"][kind] for kind in kinds]
        rows.append([one["name"], *map(str, counts)])
    lines += table(["", *fates, *kinds], rows)
    for one in record["compared"]:
        lines += ["", f"Mistakes at a score of {record['score_thr']} or more:"]
        both = (("model", "reference"), ("reference", "model"))
        head = ["", *(f"{one[a]} / not {one[b]}" for a, b in both)]
        rows = []
        for kind in KINDS:
            cells = [one[f"mistakes_of_{a}"][kind] for a, _ in both]
            rows.append([kind, *(f"{cell['all']} / {cell['own']}" for cell in cells)])
        lines += table(head, rows)
        lines += ["", f"Objects: rows {one['reference']}, columns {one['model']}"]
        lines += table(
            ["", *one["objects"]],
            [[fate, *map(str, row.values())] for fate, row in one["objects"].items()],
        )
    return lines


def _text_of_counts(record: Dict[str, Any]) -> List[str]:
    lines: List[str] = []
    for region in record["models"][0]["regions"]:
        tables = [one["regions"][region] for one in record["models"]]
        lines += ["", f"{region}: IoU / recall / precision in percent"]
        rows = []
        for name in record["classes"][:PRINTED]:
            cells = [
                " / ".join(share(one["by_class"][name][key]) for key in _SHARES) for one in tables
            ]
            rows.append([name, str(tables[0]["by_class"][name]["count"]), *cells])
        rows.append(["mean IoU", "", *(share(one["mIoU"]) for one in tables)])
        rows.append(["accuracy", "", *(share(one["accuracy"]) for one in tables)])
        lines += table(["", "count", *(one["name"] for one in record["models"])], rows)
    return lines
