"""tools/study.py with real runs of tools/train.py, as small as they can be."""

import json
import os
import sys

import pytest

STUDY = """
name = "tiny"
work_dir = {work!r}
baseline = "alone"
metric = "bbox_mAP"
options = {{"runner.max_epochs": 1, "model.test_cfg.score_thr": 0.0}}
rows = dict(
    alone=dict(config={config!r}, label="student alone"),
    broken=dict(config={config!r}, options={{"load_from": {missing!r}}}),
)
"""


@pytest.fixture(scope="module")
def study(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    path, missing = folder / "tiny_study.py", str(folder / "nowhere.pth")
    config = tiny.config("study")
    path.write_text(STUDY.format(work=str(folder / "work"), config=config, missing=missing))
    return path


def test_real_runs(study, run_python):
    done = run_python("tools/study.py", str(study), "--device", "cpu")
    assert done.returncode == 1, done.stdout  # for one row cannot run
    work = study.parent / "work"
    content = json.loads((work / "study.json").read_text())
    alone, broken = content["runs"]
    assert (alone["status"], broken["status"]) == ("done", "failed"), done.stdout
    assert "nowhere.pth" in broken["error"] and broken["work_dir"] in broken["error"]
    assert "1 FAILED" in done.stdout and "nowhere.pth" in done.stdout
    assert "Traceback" not in done.stdout
    log = next((work / "seed0" / "alone").glob("*.log.json")).read_text().splitlines()
    lines = [json.loads(line) for line in log]
    found = [line["bbox_mAP"] for line in lines if line.get("mode") == "val" and "bbox_mAP" in line]
    assert content["rows"][0]["mean"] == alone["metrics"]["bbox_mAP"]
    assert not found or found[-1] == alone["metrics"]["bbox_mAP"]
    assert alone["command"].startswith("python tools/train.py ")
    assert f"--work-dir {work / 'seed0' / 'alone'} --seed 0 --auto-resume" in alone["command"]


SRUN = """#!{python}
import json, os, sys
words = sys.argv[1:]
folder = words[words.index("--work-dir") + 1]
os.makedirs(folder, exist_ok=True)
with open(os.path.join(folder, "asked.json"), "w") as asked:
    json.dump(words, asked)
with open(os.path.join(folder, "1.log.json"), "w") as log:
    log.write(json.dumps({{"mode": "val", "bbox_mAP": 0.5}}))
"""


def test_slurm(tiny, tmp_path, run_python):
    """The shipped launcher, with a stand-in for slurm's srun."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "srun").write_text(SRUN.format(python=sys.executable))
    (folder / "srun").chmod(0o755)
    work, config = tmp_path / "work", tiny.config("slurm")
    path = tmp_path / "slurm_study.py"
    text = f"baseline = 'alone'\nwork_dir = {str(work)!r}\nseeds = [3]\n"
    path.write_text(text + f"rows = dict(alone={config!r})\n")
    options = ["--launcher", "slurm", "--partition", "night", "--gpus", "16"]
    variables = dict(PATH=f"{folder}:{os.environ['PATH']}")
    done = run_python("tools/study.py", str(path), *options, **variables)
    assert done.returncode == 0, done.stdout
    asked = json.loads((work / "seed3" / "alone" / "asked.json").read_text())
    assert asked[:5] == ["-p", "night", "--job-name=alone-3", "--gres=gpu:8", "--ntasks=16"]
    start = asked.index(config)
    assert asked[start : start + 3] == [config, "--launcher", "slurm"]
    assert asked[start + 3 :] == [
        "--work-dir", str(work / "seed3" / "alone"), "--seed", "3", "--auto-resume",
    ]  # fmt: skip
    content = json.loads((work / "study.json").read_text())
    assert content["rows"][0]["mean"] == 0.5
    assert content["rows"][0]["command"].startswith("GPUS=16 bash tools/slurm_train.sh night ")
