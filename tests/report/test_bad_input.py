"""What is hostile, broken or missing: said in a sentence, never run, never a traceback."""

import json
import shutil

import pytest
from report_page import Page

from freekd.report.main import main, write_report


def refused(capsys, *args):
    assert main([str(arg) for arg in args]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    return printed


def read(folder):
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_nothing_to_report(tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"expected a training run in {empty}, found none" in refused(capsys, empty)
    assert not (empty / "report.html").exists()
    assert "found nothing at" in refused(capsys, tmp_path / "gone")
    (tmp_path / "file").write_text("")
    assert "found a file at" in refused(capsys, tmp_path / "file")
    (empty / "x.log.json").write_text("")
    assert "the file is empty" in refused(capsys, empty)


def test_one_empty_folder_of_two(work, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert str(empty) in refused(capsys, work, empty, "--out", tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_different_data_sets_in_one_table(new_run, tmp_path, capsys):
    new_run(tmp_path / "both" / "a", data="data/digits")
    new_run(tmp_path / "both" / "b", data="data/coco")
    said = refused(capsys, tmp_path / "both")
    assert "CocoDataset digits/annotations/val.json" in said
    assert "CocoDataset coco/annotations/val.json" in said
    assert "one report for each" in said


def test_half_written_log(new_run, tmp_path, capsys):
    run = new_run(tmp_path / "run")
    log = run / "20260101_000000.log.json"
    log.write_text(log.read_text()[:-30])
    assert main([str(run)]) == 0
    assert "the last line is not whole" in capsys.readouterr().out
    page = read(run)
    assert "the last line is not whole" in page.find("section", id="notes")[0][2]
    assert page.tables[None][1][1] == ".250", "of the evaluation before"


def test_a_run_that_has_only_begun(new_run, work):
    log = new_run(work / "seed2" / "freekd") / "20260101_000000.log.json"
    log.write_text(log.read_text().splitlines()[0] + "\n")
    write_report([work])
    assert "digits/seed2/freekd: left out" in read(work).find("section", id="notes")[0][2]


def test_missing_checkpoints(new_run, tmp_path):
    run = new_run(tmp_path / "runs" / "none", checkpoint=False).parent
    (new_run(run / "dangling") / "epoch_2.pth").unlink()
    write_report([run])
    page = read(run)
    assert not [e for e in page.find("a") if e[1]["href"].endswith(".pth")]
    notes = page.find("section", id="notes")[0][2]
    assert "none: there is no checkpoint in it." in notes
    assert "dangling: there is no checkpoint in it (latest.pth leads to a file" in notes
    assert "none: no checkpoint" in page.find("section", id="repeat")[0][2]


def test_never_evaluated(new_run, tmp_path):
    run = new_run(tmp_path / "run")
    log = run / "20260101_000000.log.json"
    log.write_text("".join(f"{x}\n" for x in log.read_text().splitlines() if '"val"' not in x))
    write_report([run])
    page = read(run)
    assert page.tables[None][1] == ["run a run without an evaluation", "-"]
    assert "loss by iteration" in page.tables


def test_values_that_are_not_finite(new_run, tmp_path):
    run = new_run(tmp_path / "run")
    log = run / "20260101_000000.log.json"
    log.write_text(log.read_text().replace('"loss": 0.25', '"loss": Infinity'))
    write_report([run])
    page = read(run)
    assert [row[0] for row in page.tables["loss by iteration"][1:]] == ["10", "20", "30"]
    assert "1 logged values are not finite" in page.text


BAD = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}</title></script>"


def test_texts_of_others_are_texts(new_run, work, tmp_path):
    """In names, labels, configs, scores, notes and pictures; each is there to be read."""
    study = json.loads((work / "study.json").read_text())
    study["rows"][1]["label"] = study["command"] = study["versions"]["torch"] = BAD
    study["runs"][-1]["error"] = BAD
    (work / "study.json").write_text(json.dumps(study))
    log = new_run(work / "<b>run" / "seed0", method="<i>x") / "20260101_000000.log.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[0].update(config=f"a = {BAD!r}", exp_name=BAD, env_info=f"PyTorch: {BAD}")
    lines[1][f"loss {BAD}"] = lines[2][f"loss {BAD}"] = 1.0
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    errors = json.loads((work / "analysis" / "errors.json").read_text())
    errors["models"][0].update(name=BAD, table=[{BAD: BAD}])
    (work / "analysis" / "errors.json").write_text(json.dumps(errors))
    (work / "analysis" / "confusion.json").write_text('{"kind": "confusion", "classes": 7}')
    (work / "javascript:alert(1)").mkdir()
    new_run(work / "javascript:alert(1)" / "run")
    write_report([work], tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(page.find("script")) == 2 and "49" not in page.find("h1")[0][2]
    assert not page.find("i") and all("onerror" not in attrs for _, attrs, _ in page.elements)
    text = page.find("body")[0][2]
    assert text.count(BAD) > 8 and "{{ 7 * 7 }}" in text
    assert all(e[1]["href"].partition(":")[1] == "" for e in page.find("a"))
    assert "confusion.json: its tables are left out" in text


def test_hostile_names_in_a_picture(work):
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    for number, cells in enumerate(
        (
            [{"name": name, "row": 0, "box": [0, 0, 9, 9]} for name in (BAD, "x")],
            [{"name": "huge", "row": 0, "box": [0, 0, 10**9, 10**9]}],
            "no list",
        )
    ):
        info = PngInfo()
        info.add_text("freekd-cells", json.dumps(cells))
        folder = work / f"more{number}" / "pictures"
        folder.mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(folder / "odd_0.png", pnginfo=info)
    (work / "pictures" / "masks_0.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    write_report([work])
    page = read(work)
    assert len(page.find("script")) == 2
    assert "masks_0.png: left out, since it cannot be read as a picture" in page.text


@pytest.mark.parametrize("name", ["study", "summary", "robustness", "confusion", "errors"])
@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "null", '{"kind": "KIND"}', '{"students": {}}', '{"students": {"a": 1}}',
        '{"kind": "KIND", "rows": 3, "runs": [1, {}], "models": [1], "classes": []}',
        '{"kind": "KIND", "rows": [{}], "runs": [{"metrics": 1}], "models": [{}], "classes": [1],'
        ' "severities": 1, "corruptions": "ab", "pictures": {"a": 1}, "students": {"a": {}}}',
        '{"kind": "KIND", "models": [{"name": [], "matrix": "ab"}], "classes": "ab",'
        ' "pictures": [1, "/etc/passwd", ".."], "versions": [1], "command": {"a": 1}}',
    ],
)  # fmt: skip
def test_odd_json_is_no_traceback(new_run, tmp_path, name, content):
    run = new_run(tmp_path / "run")
    (run / f"{name}.json").write_text(content.replace("KIND", name))
    write_report([run])
    assert "loss by iteration" in read(run).tables


def test_an_existing_file_stays(work, tmp_path, capsys):
    out = work / "report.html"
    out.write_text("<p>mine</p>")
    said = refused(capsys, work)
    assert "which this tool did not write" in said and "--force" in said
    assert out.read_text() == "<p>mine</p>"
    assert main([str(work), "--force"]) == 0
    assert main([str(work)]) == 0, "its own report of the same folder is made anew"
    other = tmp_path / "other"
    shutil.copytree(work, other, symlinks=True)
    assert "report of other folders" in refused(capsys, other, "--out", out)
    (other / "report.html").unlink()
    assert main([str(other)]) == 0
    shutil.move(str(other), str(tmp_path / "moved"))
    assert main([str(tmp_path / "moved")]) == 0, "a folder that was moved with its report"


def test_a_place_that_cannot_be_written(work, tmp_path, capsys):
    assert "expected a file, got the folder" in refused(capsys, work, "--out", tmp_path)
    (tmp_path / "file").write_text("")
    assert "--out: expected a place" in refused(capsys, work, "--out", tmp_path / "file" / "x.html")
