"""benchmarks/loss.py on tiny maps: every row there, and both formulations with one result."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from freekd.losses import cards

ROOT = Path(__file__).resolve().parents[1]


def test_the_benchmark_of_the_loss(tmp_path):
    options = "--batch 1 --channels 8 --rounds 1 --prompts 1 2 --sizes 8x8 9x15 --device cpu"
    command = [sys.executable, "benchmarks/loss.py", *options.split()]
    command += ["--json", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (cpu,) = json.loads((tmp_path / "a.json").read_text())["devices"]
    assert (tmp_path / "a.png").stat().st_size > 1000
    assert len(cpu["coco"]) == 2 * 2 * 2 * 2  # T, granularity, gate, type
    assert [row["sizes"] for row in cpu["growth"]] == [[[8, 8]], [[9, 15]]] * 2
    (bundled,) = cpu["bundled"]
    assert (bundled["normalize"], bundled["distance"], bundled["channels"]) == ("channel", "l2", 64)
    assert bundled["gradient_apart"] < 1e-5  # a squared distance: no jumps
    for row in cpu["coco"] + cpu["growth"]:
        moved = 3 * row["student_bytes"]  # student and teacher read, gradient written
        assert row["floor_seconds"] == pytest.approx(moved / row["copy_bytes_per_second"])
        assert row["value_apart"] < 1e-5
        assert row["gradient_apart"] < (1e-2 if row["autocast"] else 1e-3)
        # the student's gradient at least: 8 channels of 4 bytes (2 in bfloat16) per position
        positions = sum(height * width for height, width in row["sizes"])
        assert row["student_bytes"] == positions * 8 * (2 if row["autocast"] else 4)
        assert min(row["extra_bytes"].values()) >= row["student_bytes"]
    assert all(row["apart"] < 1e-5 for row in cpu["bare"])
    assert {row["library"] for row in cpu["bare"]} == {"ours", "pytorch_wavelets", "ptwt"}
    assert "| COCO" in done.stdout and "pytorch_wavelets" in done.stdout


def test_the_cost_of_the_methods(tmp_path):
    """Methods on maps or dense heads are rows, others have a reason; plain forms agree."""
    options = "--methods --batch 1 --channels 8 --rounds 1 --sizes 8x12 5x6 --device cpu"
    command = [sys.executable, "benchmarks/loss.py", *options.split()]
    command += ["--json", str(tmp_path / "a.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (cpu,) = json.loads((tmp_path / "a.json").read_text())["devices"]
    assert cpu["sizes"] == [[8, 12], [5, 6]] and cpu["student_bytes"] == 8 * (96 + 30) * 4
    assert not set(cpu["methods"]) & set(cpu["left_out"])
    assert set(cpu["methods"]) | set(cpu["left_out"]) == set(cards())
    measured = {
        name
        for name, card in cards().items()
        if card.module and "det" in card.tasks
        if card.maps or getattr(card.module, "takes_output", False)
    }
    assert measured == set(cpu["methods"])
    least = cpu["squared_difference"]
    for name, row in {**cpu["methods"], "squared difference": least}.items():
        ratio = row["seconds"]["median"] / least["seconds"]["median"]
        assert row["over_squared_difference"] == pytest.approx(ratio)
        assert row["copies"] == pytest.approx(row["extra_bytes"] / row["student_bytes"])
        assert row["copies"] >= 1  # the student's gradient
        assert name in done.stdout
    plain = {path.stem for path in (ROOT / "benchmarks" / "plain").glob("*.py")}
    assert plain == {name for name, row in cpu["methods"].items() if "plain" in row} and plain
    for name in plain:
        row = cpu["methods"][name]["plain"]
        assert row["value_apart"] < 1e-5 and row["gradient_apart"] < 1e-3
