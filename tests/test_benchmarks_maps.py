"""benchmarks/masks.py and transforms.py on tiny maps: every row there, and its figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(script, tmp_path):
    """The rows of its JSON, and what it printed."""
    options = f"--batch 1 --channels 8 --rounds 1 --sizes 8x8 9x15 --json {tmp_path / 'a.json'}"
    command = [sys.executable, f"benchmarks/{script}", *options.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "a.json").read_text())["rows"], done.stdout


def test_the_benchmark_of_the_masks(tmp_path):
    rows, printed = run("masks.py", tmp_path)
    forms = ("signed", "energy", "energy_bias")
    assert [(row["form"], row["granularity"]) for row in rows] == [
        (form, granularity) for form in forms for granularity in ("band", "level")
    ]
    for row in rows:
        assert row["apart"] < 1e-6
        assert min(row["extra_bytes"].values()) > 0 and f"| {row['form']}" in printed


def test_the_benchmark_of_the_transforms(tmp_path):
    rows, printed = run("transforms.py", tmp_path)
    assert [row["label"] for row in rows][:2] == ["Haar", "Haar, moved"] and len(rows) == 7
    for row in rows:
        assert row["seconds"] == pytest.approx(row["ratio"] * rows[0]["seconds"])
        assert f"| {row['label']} " in printed
