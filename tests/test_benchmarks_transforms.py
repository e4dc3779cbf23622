"""benchmarks/transforms.py on tiny maps: every row there, and over the first one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_the_benchmark_of_the_transforms(tmp_path):
    options = f"--batch 1 --channels 8 --rounds 1 --sizes 8x8 9x15 --json {tmp_path / 'a.json'}"
    command = [sys.executable, "benchmarks/transforms.py", *options.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert [row["label"] for row in rows][:2] == ["Haar", "Haar, moved"] and len(rows) == 7
    for row in rows:
        assert row["seconds"] == pytest.approx(row["ratio"] * rows[0]["seconds"])
        assert f"| {row['label']} " in done.stdout
