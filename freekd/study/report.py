"""What a finished quickstart reports: ``summary.json`` and the table."""

import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from freekd.fileio import load_checkpoint_file
from freekd.words import table as columns


def student_entry(
    label: str, runs: Mapping[str, Dict[str, Any]], checkpoint: Path, exported: Path,
    score: str = "mAP", metric: str = "bbox_mAP",
) -> Dict[str, Any]:  # fmt: skip
    """One student over its seeds.

    Args:
        label: what the table calls it.
        runs: seed -> score, seconds, as training left them.
        checkpoint: the student-only file of the first seed.
        exported: the scores of that file in the stock model's config, if it was tested.
        score: the score's name in the summary.
        metric: its name in the evaluation.
    """
    values = [run[score] for run in runs.values()]
    entry = describe(next(iter(runs.values())), checkpoint)
    if exported.is_file():
        entry[f"{score}_after_export"] = json.loads(exported.read_text())["metrics"][metric]
    entry.update(
        {
            "label": label,
            score: statistics.mean(values),
            f"{score}_spread": statistics.stdev(values) if len(values) > 1 else None,
            f"{score}_by_seed": {seed: run[score] for seed, run in runs.items()},
            "seconds": statistics.mean(run["seconds"] for run in runs.values()),
            "checkpoint": str(checkpoint),
        }
    )
    return entry


def machine(device: Optional[str]) -> str:
    """Where the numbers come from."""
    return f"{platform.machine()}, {os.cpu_count()} cores, device {device or 'default'}"


def describe(record: Dict[str, Any], file: Path) -> Dict[str, Any]:
    """Scores, seconds, parameters of one trained thing, and the bytes of its file.

    A training checkpoint also holds the optimizer; counted are the bytes of its weights.
    """
    content = load_checkpoint_file(file)
    state = content.get("state_dict", content)
    skip = ("running_mean", "running_var", "num_batches_tracked")
    count = sum(v.numel() for k, v in state.items() if not k.endswith(skip))
    size = file.stat().st_size
    if "optimizer" in content:
        size = sum(value.numel() * value.element_size() for value in state.values())
    return {**record, "parameters": count, "file_bytes": size}


def versions() -> Dict[str, str]:
    """Versions of what the numbers depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("freekd", "torch", "mmcv-full", "mmdet", "mmrazor", "numpy", "scikit-learn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def table(summary: Dict[str, Any]) -> str:
    """The results as text."""
    said = {"name": "mAP", "heading": "COCO mAP", "decimals": 3, **summary.get("score", {})}
    name, places = said["name"], said["decimals"]
    rows = [("model", said["heading"], "by seed", "parameters", "file", "seconds")]

    def add(label: str, entry: Dict[str, Any]) -> None:
        spread = entry.get(f"{name}_spread")
        score = f"{entry[name]:.{places}f}"
        score += f" +- {spread:.{places}f}" if spread is not None else ""
        seeds = " ".join(f"{v:.{places}f}" for v in entry.get(f"{name}_by_seed", {}).values())
        rows.append(
            (label, score, seeds, f"{entry['parameters'] / 1e6:.2f} M",
             f"{entry['file_bytes'] / 1e6:.2f} MB", f"{entry['seconds']:.0f}")
        )  # fmt: skip

    add("teacher", summary["teacher"])
    if "prompted_teacher" in summary:
        add("teacher, prompted (prompts only)", summary["prompted_teacher"])
    for entry in summary["students"].values():
        add(entry["label"], entry)
    lines = columns(rows[0], rows[1:])
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)
