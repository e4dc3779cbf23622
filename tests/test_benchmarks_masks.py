"""benchmarks/masks.py on tiny maps: every row there, and both ways with one result."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_benchmark_of_the_masks(tmp_path):
    options = f"--batch 1 --channels 8 --rounds 1 --sizes 8x8 9x15 --json {tmp_path / 'a.json'}"
    command = [sys.executable, "benchmarks/masks.py", *options.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "a.json").read_text())["rows"]
    forms = ("signed", "energy", "energy_bias")
    assert [(row["form"], row["granularity"]) for row in rows] == [
        (form, granularity) for form in forms for granularity in ("band", "level")
    ]
    for row in rows:
        assert row["apart"] < 1e-6
        assert min(row["extra_bytes"].values()) > 0 and f"| {row['form']}" in done.stdout
