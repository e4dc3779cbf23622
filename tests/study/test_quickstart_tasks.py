"""The quickstart of segmentation and classification: their rows, data, scores, table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from freekd.report import results
from freekd.study import bundled, report, rows
from freekd.study.quickstart import Quickstart, parse_args

ROOT = Path(__file__).resolve().parents[2]
TASKS = list(bundled.TASKS)


def planned(*args):
    """The quickstart that a command line asks for, and its rows."""
    args = parse_args(list(args))
    args.data = args.data or bundled.TASKS[args.task].data
    made = Quickstart(args)
    return made, made.study().rows


# --------------------------------------------------------------------------- what it would run
@pytest.mark.parametrize("task", TASKS)
def test_rows_are_those_of_the_cards(task):
    """Each trains on the task's own data, from the run's own teacher."""
    from freekd.config.load import load_config

    made, found = planned("--task", task, "--seeds", "0")
    prompts = [] if made.task.prompt is None else ["prompts"]
    students = {}
    for name, row in rows.rows(task).items():
        students.update({} if row.then is None else {rows.first_stage(name): row.config})
        students[name] = row.then or row.config
    assert list(found) == ["teacher", *prompts, *students]
    assert {name: found[name].config for name in students} == students
    assert str(made.work) == {"det": "work_dirs/digits"}.get(task, f"work_dirs/digits_{task}")
    for name, row in found.items():
        cfg = load_config(str(ROOT / row.config))
        assert cfg.task == made.task.task and cfg.evaluation.metric == made.task.metric
        for split, folder in bundled.SPLITS:
            for key, value in made.task.files(made.task.data, folder).items():
                assert cfg.data[split][key].rstrip("/") == value.rstrip("/")
        learns = name not in ("teacher", "prompts", rows.BASELINE)
        assert ("{teacher}" in str(row.options.get("pair.teacher_checkpoint"))) == (
            learns and rows.taught(row.config)
        )
        judged = () if name == "teacher" or made.task.judge is None else made.task.judge.keys
        assert {key for key in row.options if key.startswith("data.")} == set(judged)
    files = planned("--task", task, "--data", "/x")[1]["teacher"].options
    for split, folder in bundled.SPLITS:
        for key, value in made.task.files("/x", folder).items():
            assert files[f"data.{split}.{key}"] == value and value.startswith("/x")


def test_every_task_has_a_method_beside_the_student_alone():
    assert all(len(rows.rows(task)) > 1 for task in TASKS)
    assert planned("--task", "cls")[0].methods == list(rows.rows("cls"))
    assert planned()[0].methods == ["baseline", "freekd"]


def test_a_method_of_another_task_is_named(capsys):
    with pytest.raises(SystemExit):
        parse_args(["--task", "cls", "--methods", "freekd"])
    error = capsys.readouterr().err
    assert "of the task cls, ['baseline'" in error and "got 'freekd'" in error


def test_trainings_side_by_side(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(
        "freekd.study.quickstart.Runner.__init__",
        lambda self, study, launch, jobs, **rest: seen.append((jobs, rest["steps"].jobs)),
    )
    monkeypatch.setattr("freekd.study.quickstart.Runner.execute", lambda self: True)
    planned("--task", "seg", "--jobs", "3")[0]._execute()
    assert seen == [(3, 3)]
    with pytest.raises(SystemExit):
        parse_args(["--jobs", "0"])
    assert "--jobs: expected 1 or more, got 0" in capsys.readouterr().err


# --------------------------------------------------------------------------- what it says
def summary_of(task, score):
    """A summary of two seeds, as the quickstart writes it."""
    bundle = bundled.TASKS[task]
    runs = {
        seed: bundle.entry_of(dict(metrics={bundle.scores[bundle.score]: value}, seconds=60))
        for seed, value in score.items()
    }
    entry = dict(runs["0"], parameters=45_000, file_bytes=180_000)
    values = list(score.values())
    student = {
        **entry, "label": "KD", bundle.score: sum(values) / 2, f"{bundle.score}_spread": 1.0,
        f"{bundle.score}_by_seed": score,
    }  # fmt: skip
    return dict(
        teacher=entry, students=dict(kd=student), seeds=[0, 1], task=task,
        score=dict(name=bundle.score, metric=bundle.scores[bundle.score],
                   heading=bundle.heading, decimals=bundle.decimals),
    )  # fmt: skip


def test_the_table_has_the_task_s_score():
    text = report.table(summary_of("cls", {"0": 96.94, "1": 97.5}))
    assert "top-1 accuracy, %" in text and "97.2 +- 1.0" in text and "96.9 97.5" in text
    assert "prompted" not in text and "COCO" not in text
    assert "0.500 +- 1.000" in report.table(summary_of("seg", {"0": 0.4, "1": 0.6}))


def test_the_page_reads_the_summary_of_a_task():
    summary = summary_of("cls", {"0": 96.0, "1": 97.0})
    found = results._of_summary(summary, "", with_students=True)
    assert [(row.row, row.mean) for row in found] == [("teacher", 96.0), ("kd", 96.5)]
    assert found[1].by_seed == {"0": 96.0, "1": 97.0}
    assert results._summary_score(summary) == ("accuracy", "accuracy_top-1")
    assert results._summary_score({}) == ("mAP", "bbox_mAP")  # of before there were tasks


# --------------------------------------------------------------------------- a run
@pytest.mark.parametrize(
    ("task", "methods", "images"),
    [
        pytest.param("cls", ["baseline", "kd"], ["32", "8"], marks=pytest.mark.slow),
        pytest.param("seg", ["baseline", "freekd"], ["8", "2"], marks=pytest.mark.slow),
        pytest.param("sam", ["baseline", "freekd"], ["8", "2"], marks=pytest.mark.slow),
    ],
)
def test_a_whole_run(task, methods, images, tmp_path):
    command = [
        sys.executable, "tools/quickstart.py", "--task", task, "--methods", *methods,
        "--work-dir", str(tmp_path / "work"), "--data", str(tmp_path / "data"),
        "--images", *images, "--schedule", "1", "2", "1", "--device", "cpu",
    ]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=str(ROOT), env=env, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    bundle = bundled.TASKS[task]
    summary = json.loads((tmp_path / "work" / "summary.json").read_text())
    assert summary["task"] == task and set(summary["students"]) == set(methods)
    taught = summary["students"][methods[1]]
    after, before = taught[f"{bundle.score}_after_export"], taught[bundle.score]
    assert after == pytest.approx(before, abs=1e-3)
    assert taught["parameters"] == summary["students"]["baseline"]["parameters"]
    assert ("prompted_teacher" in summary) == (bundle.prompt is not None)
    assert (
        bundle.heading in done.stdout
        and f"for stock {dict(cls='mmcls', seg='mmseg', sam='segment_anything')[task]}"
        in (done.stdout)
    )
    assert (tmp_path / "work" / f"student_{methods[1]}.pth").is_file()
    drawn = [*(tmp_path / "work" / "pictures").glob("*.png")]
    assert bool(drawn) == (bundle.pictures is not None)
