"""The whole method through its command, on a few images: every step, then every step skipped."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from freekd.study.products import Products
from freekd.study.progress import Steps, clock
from freekd.study.report import table
from freekd.study.rows import prompted, rows

ROOT = Path(__file__).resolve().parents[2]
METHODS = rows("det")


def quickstart(folder, *args):
    command = [
        sys.executable, "tools/quickstart.py", "--work-dir", str(folder / "work"),
        "--data", str(folder / "data"), "--images", "16", "4", "--schedule", "1", "2", "1",
        *args,
    ]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "2"}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=str(ROOT), env=env, check=False
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    done = quickstart(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_leaves_what_it_promises(finished):
    folder, printed = finished
    work = folder / "work"
    summary = json.loads((work / "summary.json").read_text())
    assert set(summary["students"]) == {"baseline", "freekd"}
    for entry in (summary["teacher"], summary["prompted_teacher"], *summary["students"].values()):
        assert 0 <= entry["mAP"] <= 1 and entry["seconds"] > 0
        assert entry["parameters"] > 0 and entry["file_bytes"] > 0
    assert summary["prompted_teacher"]["parameters"] < summary["teacher"]["parameters"] / 100
    freekd = summary["students"]["freekd"]
    assert freekd["mAP_after_export"] == pytest.approx(freekd["mAP"], abs=1e-3)
    assert freekd["parameters"] == summary["students"]["baseline"]["parameters"]
    assert summary["versions"]["torch"] and summary["seeds"] == [0]
    study = json.loads((work / "study.json").read_text())
    assert [row["row"] for row in study["rows"]] == ["teacher", "prompts", "baseline", "freekd"]
    assert {run["status"] for run in study["runs"]} == {"done"}
    assert study["rows"][3]["mean"] == freekd["mAP"]
    for name in ("student_freekd.pth", "prompts/prompts.pth", "seed0/freekd/latest.pth"):
        assert (work / name).is_file(), name
    pictures = {path.name for path in (work / "pictures").glob("*.png")}
    assert {"detections.png", "masks_0.png", "mask_sums_0.png", "features_0.png"} <= pictures
    assert "COCO mAP" in printed and "FreeKD" in printed and "left" in printed


def test_students_start_from_the_same_weights(finished):
    """Same seed: building a teacher beside the student changes none of its first weights."""
    import torch

    from freekd.config.load import load_config
    from freekd.engine.build import build_model
    from freekd.engine.launch import set_random_seed

    work = finished[0] / "work"
    first = []
    for method in ("baseline", "freekd"):
        cfg = load_config(str(ROOT / METHODS[method].config))
        if "algorithm" in cfg:
            cfg.algorithm.distiller.teacher_checkpoint = str(work / "teacher" / "latest.pth")
            loss = cfg.algorithm.distiller.components[0].losses[0]
            loss.prompts = str(work / "prompts" / "prompts.pth")
        set_random_seed(0)
        model = build_model(cfg, "det")
        set_random_seed(0)
        model.init_weights()
        student = model if method == "baseline" else model.architecture.model
        first.append({name: value.clone() for name, value in student.state_dict().items()})
    for name, value in first[0].items():
        assert torch.equal(value, first[1][name]), name


def test_second_call_trains_nothing(finished):
    folder, _ = finished
    stamps = {path: path.stat().st_mtime for path in (folder / "work").rglob("epoch_*.pth")}
    start = time.monotonic()
    done = quickstart(folder)
    assert done.returncode == 0, done.stderr
    steps = (
        "teacher",
        "prompts",
        "baseline, seed 0",
        "freekd, seed 0",
        "export freekd",
        "pictures",
    )
    for step in steps:
        assert f"{step}: already there" in done.stdout
    after = {path: path.stat().st_mtime for path in (folder / "work").rglob("epoch_*.pth")}
    assert stamps == after and stamps
    assert time.monotonic() - start < 120


def test_stopped_between_the_last_checkpoint_and_its_evaluation(finished):
    """Then the run has nothing left to train and evaluates nothing: the quickstart does."""
    folder, _ = finished
    run = folder / "work" / "seed0" / "baseline"
    before = json.loads((run / "done.json").read_text())
    for path in [run / "done.json", *run.glob("*.log.json")]:
        path.unlink()
    done = quickstart(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "baseline, seed 0, evaluation: done" in done.stdout
    after = json.loads((run / "done.json").read_text())
    assert after["metrics"]["bbox_mAP"] == pytest.approx(before["metrics"]["bbox_mAP"], abs=1e-3)


def test_data_of_another_size_is_an_error_of_one_line(finished):
    done = quickstart(finished[0], "--images", "8", "4")
    assert done.returncode == 1
    assert done.stderr.strip().startswith("error:") and "Traceback" not in done.stderr


def test_a_failing_step_shows_the_end_of_its_log(tmp_path):
    steps = Steps(tmp_path, {"step": 1.0})
    with pytest.raises(subprocess.CalledProcessError) as error:
        steps.run("demo", "step", [sys.executable, "-c", "raise SystemExit('no disk')"], tmp_path)
    assert "demo failed (exit 1)" in error.value.output and "no disk" in error.value.output
    assert str(tmp_path / "output.log") in error.value.output


def test_an_interrupted_step_is_stopped(tmp_path, monkeypatch):
    """Control-C in the parent ends the child; nothing is left running."""
    steps = Steps(tmp_path, {"step": 1.0})

    def interrupt(*_):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr("freekd.study.progress.read", interrupt)
    pid = str(tmp_path / "pid")
    code = f"import os, time; open({pid!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    steps.tty = True  # looks at the progress at once
    with pytest.raises(KeyboardInterrupt):
        steps.run("demo", "step", [sys.executable, "-c", code], tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_report_where_its_tool_is_there(tmp_path, monkeypatch, capsys):
    """And a report that fails is no reason for the quickstart to fail."""
    work, tool = tmp_path / "work", tmp_path / "tools" / "report.py"
    monkeypatch.setattr("freekd.study.products.ROOT", tmp_path)
    products = Products(work, "data", None, [], [0], Steps(work, {"pictures": 1.0}))
    products.page()
    assert not work.exists()
    tool.parent.mkdir()
    tool.write_text("import sys; open(sys.argv[1] + '/report.html', 'w').write('x')")
    products.page()
    assert (work / "report.html").read_text() == "x"
    tool.write_text("raise SystemExit('no pictures')")
    products.page()
    assert "no report: report failed" in capsys.readouterr().out


def test_table_and_clock():
    entry = dict(mAP=0.5, parameters=1_000_000, file_bytes=4_000_000, seconds=60)
    students = {"freekd": dict(entry, label="FreeKD", mAP_spread=0.01, mAP_by_seed={"0": 0.4})}
    text = table(dict(teacher=entry, prompted_teacher=entry, students=students))
    assert "0.500 +- 0.010" in text and "1.00 M" in text and "4.00 MB" in text
    assert clock(75) == "1:15"


@pytest.mark.parametrize("method", list(METHODS))
def test_methods_with_prompts_are_given_the_runs_own(method):
    """Oracle: the config spelled out."""
    from freekd.config.load import load_config

    config = str(ROOT / METHODS[method].config)
    distiller = (load_config(config).get("algorithm") or {}).get("distiller") or {}
    losses = [loss for c in distiller.get("components", ()) for loss in c.losses]
    expected = [loss.name for loss in losses if loss.get("prompts") is not None]
    assert [f"loss_{name}" for name in prompted(config)] == expected
