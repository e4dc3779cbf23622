"""tools/analysis/logs.py: tables, CSV and picture of hand-written logs, and what it refuses."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from written_logs import config, train, val, write

from freekd.analysis import log_table
from freekd.analysis.log_main import main
from freekd.analysis.logs import read_runs

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def two(tmp_path):
    """An old run, of the authors' release, and a new one: 2 epochs of 10 iterations each."""
    old = [train(1, 10, 3.0), val(1, 7, 0.1), train(2, 10, 2.0), val(2, 7, 0.3)]
    write(tmp_path / "old", old, meta=dict(config=config(root="/mnt/lustre/data/coco/")))
    new = [
        train(1, 10, 4.0, **{"ratio.freekd": 2.0, "distiller.loss_freekd.0": 1.5}),
        val(1, 7, 0.4),
        {
            **train(2, 10, 5.0, **{"ratio.freekd": 3.0, "distiller.loss_freekd.0": 1.25}),
            "time": 1.5,
        },
        val(2, 7, 0.2),
    ]
    write(tmp_path / "new", new)
    return [str(tmp_path / "old"), str(tmp_path / "new")]


def test_the_tables(two, capsys):
    """Best: of the loss the lowest, of a score the highest; a ratio has none.

    Time: 0.5 s and the median of 0.5 and 1.5 s, each for 20 steps; 0.01 s of it wait for data.
    """
    assert main(two) == 0
    printed, notes = capsys.readouterr()
    blocks = [[line.split() for line in block.splitlines()] for block in printed.split("\n\n")]
    assert blocks[0][1:] == [
        ["old", "2.0000", "20", "2.0000", "20"],
        ["new", "5.0000", "20", "4.0000", "10"],
    ]
    assert blocks[1][0][0] == "ratio.freekd"
    assert blocks[1][1:] == [["old", *"----"], ["new", "3.0000", "20", "-", "-"]]
    assert blocks[2][0][0] == "bbox_mAP"
    assert blocks[2][1:] == [
        ["old", "0.3000", "20", "0.3000", "20"],
        ["new", "0.2000", "20", "0.4000", "10"],
    ]
    assert blocks[3][1:] == [
        ["old", "20", "0.5", "2", "%", "10", "s"],
        ["new", "20", "1", "1", "%", "20", "s"],
    ]
    assert notes.count("note: ") == 2 and "10 iterations" in notes


def test_keys_are_names_or_patterns(two, capsys):
    runs = read_runs(two)
    assert log_table.choose_keys(runs) == ["loss", "ratio.freekd", "bbox_mAP"]
    wanted = ["*loss_*", "time", "loss", "loss"]
    assert log_table.choose_keys(runs, wanted) == ["distiller.loss_freekd.0", "time", "loss"]
    assert main([*two, "--keys", "bbox_map"]) == 1
    assert "--keys bbox_map: expected a key of the logs" in (said := capsys.readouterr().err)
    assert "nearest: bbox_mAP." in said


def test_csv_and_picture(two, tmp_path, capsys):
    table, picture = tmp_path / "out" / "a.csv", tmp_path / "out" / "a.png"
    args = [*two, "--keys", "loss", "bbox_mAP", "--csv", str(table), "--plot", str(picture)]
    assert main(args) == 0
    with open(table, encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 8
    assert rows[1] == dict(run="old", key="loss", step="20", value="2.0")
    assert {(row["run"], row["step"]): row["value"] for row in rows[2:4]} == {
        ("old", "10"): "0.1",
        ("old", "20"): "0.3",
    }
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in picture.parent.iterdir()) == ["a.csv", "a.png"]

    before = picture.read_bytes()
    assert main([*args, "--keys", "time"]) == 1
    assert "--force to write over it" in capsys.readouterr().err
    assert picture.read_bytes() == before
    assert main([*args, "--keys", "time", "--force"]) == 0
    assert picture.read_bytes() != before


def test_what_is_drawn(two, tmp_path):
    """Each panel has one line for each run, with the points of the log."""
    from matplotlib.axes import Axes

    drawn = []
    plotted = Axes.plot

    def noted(self, steps, values, **options):
        drawn.append((self.get_title(), options["label"], dict(zip(steps, values))))
        return plotted(self, steps, values, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Axes, "plot", noted)
        log_table.plot(read_runs(two), ["loss", "ratio.freekd"], tmp_path / "a.svg")
    assert drawn == [
        ("loss", "old", {10: 3.0, 20: 2.0}),
        ("loss", "new", {10: 4.0, 20: 5.0}),
        ("ratio.freekd", "old", {}),
        ("ratio.freekd", "new", {10: 2.0, 20: 3.0}),
    ]
    assert "<svg" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--plot", "{tmp}/a.xyz"], "--plot {tmp}/a.xyz: expected a name that ends in .png"),
        (["--plot", "{tmp}/a"], "got no ending"),
        (["--csv", "/dev/null/a.csv"], "--csv /dev/null/a.csv: expected a file that can be"),
        (["{tmp}/empty"], "Expected a work folder or a log at {tmp}/empty, found nothing"),
        (
            ["{tmp}/mine"],
            "evaluated on CocoDataset coco/annotations/instances_val2017.json and mine",
        ),
    ],
)
def test_bad_input_is_one_line(two, tmp_path, capsys, options, said):
    write(tmp_path / "mine", [train(1, 10)], meta=dict(config=config(root="data/mine/")))
    assert main([*two, *(option.format(tmp=tmp_path) for option in options)]) == 1
    error = capsys.readouterr().err
    assert "error: " in error and "Traceback" not in error
    assert said.format(tmp=tmp_path) in error


def test_different_data_on_request(two, tmp_path):
    write(tmp_path / "mine", [train(1, 10)], meta=dict(config=config(root="data/mine/")))
    assert main([*two, str(tmp_path / "mine"), "--any-data"]) == 0


def test_the_tool_itself(two):
    command = [sys.executable, "tools/analysis/logs.py", *two]
    done = subprocess.run(command, cwd=str(REPO), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("loss  last")
    assert "Warning" not in done.stderr
