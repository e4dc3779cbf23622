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
    label: str, runs: Mapping[str, Dict[str, Any]], checkpoint: Path, exported: Path
) -> Dict[str, Any]:
    """One student over its seeds.

    Args:
        label: what the table calls it.
        runs: seed -> mAP, seconds, as training left them.
        checkpoint: the student-only file of the first seed.
        exported: the scores of that file in stock mmdet's config, if it was tested.
    """
    maps = [run["mAP"] for run in runs.values()]
    entry = describe(next(iter(runs.values())), checkpoint)
    if exported.is_file():
        entry["mAP_after_export"] = json.loads(exported.read_text())["metrics"]["bbox_mAP"]
    entry.update(
        label=label,
        mAP=statistics.mean(maps),
        mAP_spread=statistics.stdev(maps) if len(maps) > 1 else None,
        mAP_by_seed={seed: run["mAP"] for seed, run in runs.items()},
        seconds=statistics.mean(run["seconds"] for run in runs.values()),
        checkpoint=str(checkpoint),
    )
    return entry


def machine(device: Optional[str]) -> str:
    """Where the numbers come from."""
    return f"{platform.machine()}, {os.cpu_count()} cores, device {device or 'default'}"


def describe(record: Dict[str, Any], file: Path) -> Dict[str, Any]:
    """mAP, seconds, parameters of one trained thing, and the bytes of its file.

    A training checkpoint also holds the optimizer; counted are the bytes of its weights.
    """
    content = load_checkpoint_file(file)
    state = content["state_dict"]
    skip = ("running_mean", "running_var", "num_batches_tracked")
    count = sum(v.numel() for k, v in state.items() if not k.endswith(skip))
    size = file.stat().st_size
    if "optimizer" in content:
        size = sum(value.numel() * value.element_size() for value in state.values())
    return {
        "mAP": record["mAP"], "mAP_50": record["mAP_50"], "seconds": record["seconds"],
        "parameters": count, "file_bytes": size,
    }  # fmt: skip


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
    rows = [("model", "COCO mAP", "by seed", "parameters", "file", "seconds")]

    def add(label: str, entry: Dict[str, Any]) -> None:
        spread = entry.get("mAP_spread")
        score = f"{entry['mAP']:.3f}" + (f" +- {spread:.3f}" if spread is not None else "")
        seeds = " ".join(f"{v:.3f}" for v in entry.get("mAP_by_seed", {}).values())
        rows.append(
            (label, score, seeds, f"{entry['parameters'] / 1e6:.2f} M",
             f"{entry['file_bytes'] / 1e6:.2f} MB", f"{entry['seconds']:.0f}")
        )  # fmt: skip

    add("teacher", summary["teacher"])
    add("teacher, prompted (prompts only)", summary["prompted_teacher"])
    for entry in summary["students"].values():
        add(entry["label"], entry)
    lines = columns(rows[0], rows[1:])
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)
