"""The runner, with a stand-in for tools/train.py; test_study_tool.py has the tool itself."""

import json
import os
import subprocess
import sys
import time

import pytest

from freekd import cli
from freekd.study import plan
from freekd.study.definition import make_study
from freekd.study.main import main
from freekd.study.progress import Child, Steps, stop
from freekd.study.runner import Runner

SCORES = dict(alone=(0.50, 0.52), good=(0.60, 0.64), teacher=(0.9,))

CONFIG = """
task = "det"
data = dict(val=dict(type="CocoDataset", ann_file="annotations/val.json"))
evaluation = dict(metric="bbox")
load_from = None
"""
# writes what a training writes; the row "bad" fails, "mute" leaves another score
STAND_IN = """
import json, os, sys, time
folder, row, score, pause = sys.argv[1:5]
with open(os.path.join(folder, "calls"), "a") as calls:
    calls.write(f"{time.time()} ")
if row == "bad":
    sys.exit("no disk")
time.sleep(float(pause))
with open(os.path.join(folder, "1.log.json"), "w") as log:
    for record in (dict(mode="train", time=0.5), {"mode": "val", "bbox_mAP": float(score)}):
        if row == "mute" and record["mode"] == "val":
            record = dict(mode="val", accuracy=1.0)
        log.write(json.dumps(record) + chr(10))
with open(os.path.join(folder, "latest.pth"), "w") as weights:
    weights.write(score)
with open(os.path.join(folder, "calls"), "a") as calls:
    calls.write(f"{time.time()} {os.environ.get('OMP_NUM_THREADS')} ")
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    script = tmp_path / "train.py"
    script.write_text(STAND_IN)
    (tmp_path / "config.py").write_text(CONFIG)
    said = dict(pause=0.0)

    def command(run, launch):
        score = SCORES.get(run.row, (0.1, 0.1))[run.seed if not run.once else 0]
        words = [str(run.folder), run.row, str(score), str(said["pause"])]
        return [sys.executable, str(script), *words], {}

    monkeypatch.setattr(plan, "train_command", command)
    return said


def study_of(folder, *names, rows=()):
    config = str(folder / "config.py")
    given = {**dict.fromkeys(("alone", *names), {}), **dict(rows)}
    rows = {name: dict(row, config=config) for name, row in given.items()}
    work = str(folder / "work")
    return make_study(dict(name="x", work_dir=work, baseline="alone", seeds=[0, 1], rows=rows))


def execute(study, **options):
    runner = Runner(study, **options)
    return runner, runner.execute()


def calls(study):
    work = study.work_dir
    return {str(p.parent.relative_to(work)): len(p.read_text().split()) for p in work.rglob("calls")
            if ".before-" not in str(p)}  # fmt: skip


TEACHER = dict(teacher=dict(seed=0), good=dict(options={"load_from": "{teacher}/latest.pth"}))


def test_a_study_and_its_result(tmp_path, fake):
    study = study_of(tmp_path, rows=TEACHER)
    runner, fine = execute(study)
    assert fine
    content = json.loads((study.work_dir / "study.json").read_text())
    assert content["kind"] == "study" and content["metric"] == "bbox_mAP"
    by = {row["row"]: row for row in content["rows"]}
    assert by["good"]["gain"] == pytest.approx(0.11)  # of .10 and .12
    # t(.975, 1) = 12.7062, s / sqrt(2) = .01
    assert by["good"]["gain_high"] == pytest.approx(0.11 + 0.127062, abs=1e-6)
    assert by["teacher"]["mean"] == 0.9 and by["teacher"]["gain"] is None
    assert by["alone"]["step_ms"] == 500
    assert [(r["row"], r["seed"], r["status"]) for r in content["runs"]] == [
        ("teacher", 0, "done"), ("alone", 0, "done"), ("good", 0, "done"),
        ("alone", 1, "done"), ("good", 1, "done"),
    ]  # fmt: skip
    assert content["runs"][4]["metrics"] == {"bbox_mAP": 0.64}
    assert content["data"].endswith("val.json") and content["versions"]["torch"]


def test_what_is_finished_is_not_run_again(tmp_path, fake, capsys):
    study = study_of(tmp_path, rows=TEACHER)
    execute(study)
    before = calls(study)
    runner, fine = execute(study)
    assert fine and calls(study) == before
    assert "good, seed 1: already there" in capsys.readouterr().out
    # the teacher is another one now: its students too, and nothing else
    (study.work_dir / "teacher" / "latest.pth").write_text("other")
    execute(study)
    kept = [path.name for path in (study.work_dir / "seed0").iterdir()]
    assert sum(name.startswith("good.before-") for name in kept) == 1
    assert not any(name.startswith("alone.before-") for name in kept)
    assert "good, seed 0: trained with other settings before; kept as" in capsys.readouterr().out


def test_a_new_row_runs_alone(tmp_path, fake):
    execute(study_of(tmp_path))
    study = study_of(tmp_path, "good")
    before = calls(study)
    execute(study)
    after = calls(study)
    new = {name for name in after if after[name] != before.get(name)}
    assert new == {"seed0/good", "seed1/good"}


def test_a_failed_run_is_a_row_and_stops_no_other(tmp_path, fake, capsys):
    rows = dict(bad={}, after=dict(needs=["bad"]), good={})
    study = study_of(tmp_path, rows=rows)
    runner, fine = execute(study)
    assert not fine
    content = json.loads((study.work_dir / "study.json").read_text())
    by = {row["row"]: row for row in content["rows"]}
    assert by["bad"]["failed"] == 2 and by["after"]["missing"] == 2
    assert by["good"]["n"] == 2 and by["good"]["gain"] == pytest.approx(0.11)
    run = next(run for run in content["runs"] if run["row"] == "bad")
    assert "no disk" in run["error"] and "bad/output.log" in run["error"]
    after = next(run for run in content["runs"] if run["row"] == "after")
    assert after["error"] == "not run: it needs bad, seed 0, which failed"
    assert "seed0/after" not in calls(study)
    execute(study)  # what failed is tried again
    assert calls(study)["seed0/bad"] == 2 and calls(study)["seed0/good"] == 3


def test_a_run_without_the_score(tmp_path, fake):
    study = study_of(tmp_path, "mute")
    runner, fine = execute(study)
    assert not fine
    assert "expected the score 'bbox_mAP'" in runner.outcomes["mute, seed 0"].error
    assert "found accuracy" in runner.outcomes["mute, seed 0"].error
    execute(study)
    assert calls(study)["seed0/mute"] == 3  # it is trained, and is not trained again


def test_side_by_side(tmp_path, fake, monkeypatch):
    fake["pause"] = 1.0
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    study = study_of(tmp_path, rows=TEACHER)
    execute(study, jobs=2)
    times = {}
    for path in study.work_dir.rglob("calls"):
        words = path.read_text().split()
        times[str(path.parent.relative_to(study.work_dir))] = (float(words[0]), float(words[1]))
        assert words[2] == str(max(1, os.cpu_count() // 2))
    assert times["seed0/alone"][0] < times["teacher"][1]  # they overlap
    assert min(times[f"seed{s}/good"][0] for s in (0, 1)) > times["teacher"][1]
    for moment, _ in times.values():
        assert sum(begin <= moment < end for begin, end in times.values()) <= 2


def test_shards_share_a_study(tmp_path, fake):
    study = study_of(tmp_path, "other", rows=TEACHER)
    second, fine = execute(study, shard=(2, 2))
    waiting = [o.error for o in second.outcomes.values() if o.status == "not run"]
    if not fine:
        assert any("belongs to another --shard" in (why or "") for why in waiting)
    first, _ = execute(study, shard=(1, 2))
    second, fine = execute(study, shard=(2, 2))
    assert fine and sorted(first.mine + second.mine) == sorted(first.runs)
    assert set(first.mine) & set(second.mine) == set()
    assert set(calls(study).values()) == {3}  # each ran once
    content = json.loads((study.work_dir / "study.json").read_text())
    assert {run["status"] for run in content["runs"]} == {"done"}


def test_a_run_on_other_data_is_not_taken(tmp_path, fake):
    study = study_of(tmp_path)
    execute(study)
    file = study.work_dir / "seed0" / "alone" / "done.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(dict(record, key="x", data=dict(name="theirs.json", digest="y"))))
    runner = Runner(study)
    runner.look_at_all()
    other = runner.outcomes["alone, seed 0"]
    assert other.status == "not run" and "theirs.json" in other.error
    assert "annotations/val.json" in other.error
    assert runner.write()["rows"][0]["n"] == 1


def test_a_shard_waits_for_what_it_needs(tmp_path, fake, monkeypatch):
    study = study_of(tmp_path, "other", rows=TEACHER)
    one = next(k for k in (1, 2) if "teacher" not in Runner(study, shard=(k, 2)).mine)
    runner, fine = execute(study, shard=(one, 2))
    needs = [name for name in runner.mine if "good" in name]
    assert needs and not fine
    assert all("which belongs to another --shard" in runner.outcomes[n].error for n in needs)
    pause, slept = time.sleep, []

    def meanwhile(seconds):
        if seconds == 5.0 and not slept:
            slept.append(seconds)
            execute(study, shard=(3 - one, 2))
        pause(min(seconds, 0.2))

    monkeypatch.setattr("freekd.study.runner.time.sleep", meanwhile)
    assert execute(study, shard=(one, 2), wait=1.0)[1] and slept


def test_an_interrupted_study_stops_its_runs(tmp_path, fake, monkeypatch):
    fake["pause"] = 60.0
    study = study_of(tmp_path)
    started = []

    def interrupt(self, children, limit):
        while not (children[0].folder / "calls").exists():
            time.sleep(0.05)
        started.extend(children)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            execute(study, jobs=2)
    assert len(started) == 2 and all(child.process.poll() is not None for child in started)
    content = json.loads((study.work_dir / "study.json").read_text())
    assert {run["status"] for run in content["runs"]} == {"not run"}
    assert content["runs"][0]["error"] == "it was interrupted"
    # the next call goes on in the same folder, and the seconds add up
    file = study.work_dir / "seed0" / "alone" / "started.json"
    started = json.loads(file.read_text())
    file.write_text(json.dumps(dict(started, seconds=1000.0)))
    fake["pause"] = 0.0
    runner, fine = execute(study)
    assert fine and not list(study.work_dir.rglob("*.before-*"))
    assert 1000 <= runner.outcomes["alone, seed 0"].record["seconds"] < 1100


def test_a_run_without_an_evaluation_at_its_end_is_evaluated_once(tmp_path, fake, monkeypatch):
    """On data.val, as training does; that it gives no score is no reason to ask again."""
    study = study_of(tmp_path)
    script = tmp_path / "train.py"
    script.write_text(STAND_IN.replace('{"mode": "val", "bbox_mAP": float(score)}', "{}"))
    run = next(iter(Runner(study).runs.values()))
    words = plan.evaluate_command(run, plan.Launch(), tmp_path / "x.json")
    assert words[words.index("--split") + 1] == "val"

    def evaluate(run, launch, file):
        code = "import sys; open(sys.argv[1], 'a').write('x')\n"
        code += "open(sys.argv[2], 'w').write(sys.argv[3])"
        words = [str(run.folder / "asked"), str(file), json.dumps(dict(metrics={}))]
        return [sys.executable, "-c", code, *words]

    monkeypatch.setattr(plan, "evaluate_command", evaluate)
    runner, fine = execute(study)
    assert not fine and "found none" in runner.outcomes["alone, seed 0"].error
    assert (run.folder / "asked").read_text() == "x"


def test_a_run_that_the_study_did_not_begin_is_kept_aside(tmp_path, fake, capsys):
    """Nothing tells with which settings it was trained: it is neither a result nor a beginning."""
    study = study_of(tmp_path)
    folder = study.work_dir / "seed0" / "alone"
    folder.mkdir(parents=True)
    (folder / "epoch_1.pth").write_text("by hand")
    runner, fine = execute(study)
    assert fine and not (folder / "epoch_1.pth").exists()
    (kept,) = folder.parent.glob("alone.before-*")
    assert (kept / "epoch_1.pth").read_text() == "by hand"
    assert f"kept as {kept}" in capsys.readouterr().out


def test_the_folder_of_a_run_that_goes_on_is_not_moved(tmp_path, fake):
    """Its lock would go with it: the old and the new run would write into one folder."""
    study = study_of(tmp_path)
    folder = study.work_dir / "seed0" / "alone"
    folder.mkdir(parents=True)
    (folder / "started.json").write_text(json.dumps(dict(key="of other settings")))
    code = (
        "from freekd.engine.launch import own_work_dir\nimport sys, time\n"
        "with own_work_dir(sys.argv[1]):\n    print('locked', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=-1, text=True) as other:
        try:
            assert "locked" in other.stdout.readline()
            runner, fine = execute(study)
        finally:
            other.kill()
    assert not fine and f"process {other.pid}" in runner.outcomes["alone, seed 0"].error
    assert not list(study.work_dir.rglob("*.before-*"))
    assert execute(study)[1] and len(list(study.work_dir.rglob("*.before-*"))) == 1


def test_all_children_are_told_before_one_is_waited_for():
    """A second control-C while the first of two ends."""

    class Slow:
        def __init__(self, process):
            self.pid, self.poll = process.pid, process.poll

        def wait(self, timeout):
            raise KeyboardInterrupt

    code = "import time; time.sleep(60)"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=-3)
        for _ in range(2)
    ]
    with pytest.raises(KeyboardInterrupt):
        stop(*map(Slow, processes))
    assert all(process.wait(10) for process in processes)


# --------------------------------------------------------------------------- the command
@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    text = f"baseline = 'alone'\nseeds = [0, 1]\nwork_dir = {str(tmp_path / 'work')!r}\n"
    config = str(tmp_path / "config.py")
    path.write_text(text + f"rows = dict(alone={config!r}, good={config!r})\n")
    return path


def call(*words):
    return main(cli.study([str(word) for word in words]))


def test_the_command(file, fake, capsys):
    assert call(file, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert printed.count("train.py") == 4 and "finished" not in printed
    assert not (file.parent / "work").exists()
    assert call(file, "--collect") == 1
    assert "it has not been started" in capsys.readouterr().out
    assert call(file) == 0
    printed = capsys.readouterr().out
    assert "0.620 +- 0.028" in printed and "+0.110" in printed  # s of .60, .64 = .04 / sqrt(2)
    assert "study.json" in printed
    assert call(file, "--collect") == 0 and "0.620 +- 0.028" in capsys.readouterr().out
    assert call(file, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "# good, seed 1: finished" in lines and all(line.startswith("#") for line in lines)


def test_seeds_and_folder_of_the_command_line(file, fake, tmp_path):
    assert call(file, "--seeds", 1, "--work-dir", tmp_path / "other") == 0
    content = json.loads((tmp_path / "other" / "study.json").read_text())
    assert [run["seed"] for run in content["runs"]] == [1, 1]
    assert not (tmp_path / "work").exists()


def test_another_study_is_not_written_over(file, fake, tmp_path, capsys):
    assert call(file) == 0
    before = (tmp_path / "work" / "study.json").read_text()
    other = file.with_name("other.py")
    other.write_text(file.read_text())
    capsys.readouterr()
    assert call(other) == 1
    error = capsys.readouterr().err
    assert "'other', got 'mine'" in error and "--force" in error
    assert (tmp_path / "work" / "study.json").read_text() == before
    assert call(other, "--force") == 0
    assert json.loads((tmp_path / "work" / "study.json").read_text())["name"] == "other"
    (tmp_path / "work" / "study.json").write_text("{")
    assert call(other) == 1 and "cannot be read" in capsys.readouterr().err


def test_a_result_does_not_lose_seeds(file, fake, tmp_path, capsys):
    folder = tmp_path / "out"
    assert call(file, "--seeds", "0", "1", "--work-dir", folder) == 0
    assert call(file, "--seeds", "1", "--work-dir", folder) == 1
    error = capsys.readouterr().err
    assert "expected all of its seeds [0, 1], got [1]" in error and "lose [0]" in error
    assert call(file, "--seeds", "1", "0", "--work-dir", folder) == 0
    assert call(file, "--seeds", "1", "--work-dir", folder, "--force") == 0


@pytest.mark.parametrize("text", ["x = (", "baseline = 'a'", "rows = 3\nbaseline = 'a'", ""])
def test_a_bad_file_is_an_error_of_one_line(tmp_path, capsys, text):
    path = tmp_path / "bad.py"
    path.write_text(text)
    assert call(path) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "bad.py" in error and "Traceback" not in error
    assert call(tmp_path / "none.py") == 1
    assert "expected a config file, found none" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [("--shard", "3/2"), ("--shard", "0/2"), ("--shard", "x"), ("--jobs", "0"), ("--gpus", "0"),
     ("--launcher", "slurm"), ("--partition", "gpu"), ("--wait", "-1")],
)  # fmt: skip
def test_wrong_options(words, capsys):
    with pytest.raises(SystemExit):
        cli.study(["x.py", *words])
    assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize(("jobs", "rest"), [(1, 130), (2, 65)])
def test_the_rest_of_a_study(tmp_path, capsys, jobs, rest):
    """Two steps of which one has 30 s of 100 left, and the guess was half of that: 130 s."""
    child = Child("a", "x", 50.0, [], tmp_path, None, time.monotonic() - 70)
    record = dict(iter=7, max_iters=10, seconds=70, eta_seconds=30.0, loss=1.0)
    (tmp_path / "progress.json").write_text(json.dumps(record))
    steps = Steps(tmp_path, {"x": 100.0}, jobs, known=False)
    steps.tty = False
    steps._show([child], time.monotonic())
    said = capsys.readouterr().out
    assert said.startswith("a: 7/10, loss 1.000, 0:30 left (of all: about ")
    minutes, seconds = said.split("about ")[1].split(" ")[0].split(":")
    assert abs(int(minutes) * 60 + int(seconds) - rest) <= 1


def test_many_jobs_are_one_line_of_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    steps = Steps(tmp_path, {"x": 100.0}, 4)
    steps.tty = True
    children = [Child(f"job {i}", "x", 25.0, [], tmp_path, None, 0.0) for i in range(4)]
    steps._show(children, 1.0)
    line = capsys.readouterr().out[1:].replace("\033[K", "")
    assert len(line) == 69 and line.startswith("job 0: starting; job 1: starting")
    assert line.endswith("... (of all: about 0:25 left)")  # four of 25 s at once
