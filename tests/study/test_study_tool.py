"""tools/study.py with real runs of tools/train.py, as small as they can be."""

import json

import pytest

STUDY = """
name = "tiny"
work_dir = {work!r}
baseline = "alone"
metric = "bbox_mAP"
options = {{"runner.max_epochs": 1}}
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
