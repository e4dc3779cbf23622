"""The page of a study: what is in it, that it needs nothing else, that its numbers are right."""

import hashlib
import re
import shutil
from pathlib import Path

import pytest
from report_page import Page, decode

from freekd.report.main import default_out, main, write_report
from freekd.report.material import gather
from freekd.report.page import HERE
from freekd.report.results import results


@pytest.fixture
def page(work):
    write_report([work])
    return Page((work / "report.html").read_text(encoding="utf-8"))


def test_needs_nothing_but_itself(page):
    """No address, no file, no script of others: what a browser would fetch is data: alone."""
    for tag, attrs, _ in page.elements:
        for name in ("src", "srcset", "data", "poster", "background", "action"):
            assert attrs.get(name, "data:").startswith("data:"), (tag, attrs)
        assert not any(name.startswith("on") or name == "style" for name in attrs), (tag, attrs)
        if "href" in attrs:
            assert tag == "a" and "//" not in attrs["href"] and ":" not in attrs["href"]
    assert not page.find("link") and not page.find("iframe") and not page.find("base")
    assert not re.search(r"https?://", page.text)
    assert not re.search(r"@import|url\(", page.text)


def test_policy_admits_its_own_script_and_style_alone(page):
    import base64

    policy = page.find("meta", http_equiv="Content-Security-Policy")[0][1]["content"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    scripts = [e for e in page.find("script") if "type" not in e[1]]
    for kind, (element,) in (("script-src", scripts), ("style-src", page.find("style"))):
        digest = base64.b64encode(hashlib.sha256(element[2].encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy


def test_every_picture_is_inside(page):
    uris = page.uris()
    # features: 2 images x (image + 3 models); mask sums: 2; all of them also in sight at first or
    # in the script's data: 2 + 1 in sight, and the picture of robustness and of confusion
    assert len(uris) == 2 * 4 + 2 + 3 + 2
    sizes = {decode(uri).size for uri in uris}
    assert (264, 264) in sizes, "cells of feature maps, cut out"
    assert (300, 100) in sizes
    slider = page.find("input", type="range")
    assert len(slider) == 1
    shown = {e[1]["class"]: e[1]["alt"] for e in page.find("img")}
    assert shown["left"].endswith("student alone") and shown["right"].endswith("FreeKD")
    assert all(e[1]["alt"] for e in page.find("img"))


def test_results_are_those_of_the_study(page):
    rows = {row[0]: row for row in page.tables[None][1:]}
    assert list(rows) == ["teacher", "student alone baseline", "FreeKD 1 of 3 runs failed"]
    freekd = rows["FreeKD 1 of 3 runs failed"]
    assert ".690 ± .014" in freekd and "+.180 [+.150, +.210]" in freekd
    assert ".680 .700" in freekd and "120" in freekd and "90 s" in freekd
    assert "FreeKD, seed 2: out of memory" in page.text
    assert page.find("dd", class_="value")[0][2] == ".690"


def test_scores_of_the_last_evaluation_are_as_logged(page):
    table = page.tables["Scores of the last evaluation, as logged"]
    assert table[0] == ["run", "bbox_mAP", "bbox_mAP_50"]
    assert ["seed1/freekd", "0.7", "0.8"] in table and ["teacher", "0.75", "0.85"] in table
    assert len(table) == 1 + 5


def test_curves_are_means_over_the_seeds(page):
    """loss_cls is 8 / step + 0.01 seed: over the seeds 0 and 1 the mean is 8 / step + 0.005."""
    table = page.tables["loss_cls by iteration"]
    assert table[0] == ["iteration", "student alone", "FreeKD"], "one name, alone or distilled"
    assert [row[0] for row in table[1:]] == ["10", "20", "30", "40"]
    for row in table[1:]:
        for value in row[1:]:
            assert float(value) == pytest.approx(8 / int(row[0]) + 0.005, abs=1e-5)
    ratio = page.tables["ratio.freekd by iteration"]
    assert ratio[0] == ["iteration", "FreeKD"]
    assert [float(row[1]) for row in ratio[1:]] == pytest.approx(
        [10 / 7, 20 / 7, 30 / 7, 40 / 7], abs=1e-5
    )
    scores = page.tables["bbox_mAP by iteration"]
    assert scores[1][0] == "20" and float(scores[1][1]) == pytest.approx((0.25 + 0.26) / 2)
    assert "distiller.loss_freekd.0 by iteration" in page.tables
    assert "time by iteration" not in page.tables


def test_charts_show_the_numbers_of_their_tables(page):
    charts = page.data["charts"]
    assert set(charts) == {e[1]["data-chart"] for e in page.find("svg", class_="chart")}
    chart = next(c for c in charts.values() if [v[-1] for v in c["values"].values()] == ["5.71"])
    assert chart["steps"] == [10, 20, 30, 40]  # ratio.freekd: 40 / 7 = 5.714
    # from 0 to 40 over the 334 pixels between 50 and 384
    assert chart["x"] == pytest.approx([133.5, 217, 300.5, 384])


def test_analyses_are_there(page):
    assert page.tables["All models"][1:] in (
        [["FreeKD", "0.6825", "0.25", "0.3663"]],
        [["FreeKD", "0.6825"]],
    )
    means = page.tables["Mean over the severities"]
    assert means == [["model", "fog", "snow"], ["FreeKD", "0.3", "0.2"]]
    confusion = page.tables["FreeKD: rows are the truth, columns what was found"]
    assert confusion[2] == ["b", "2", "9", "1"]
    assert page.tables["FreeKD: by size"] == [["", "AP"], ["small", "0.7"]]
    assert "its picture 'gone.png' does not lie beside it" in page.find("main")[0][2]
    assert "'../features.png' does not lie beside it" in page.find("main")[0][2]


def test_checkpoints_are_links_that_lead_somewhere(page, work):
    links = [e[1]["href"] for e in page.find("a") if e[1]["href"].endswith(".pth")]
    assert len(links) == 5
    assert all((work / link).is_file() for link in links)


def test_links_are_relative_to_the_page(work, tmp_path):
    out = tmp_path / "some where" / "page.html"
    write_report([work], out)
    page = Page(out.read_text(encoding="utf-8"))
    links = [e[1]["href"] for e in page.find("a") if e[1]["href"].endswith(".pth")]
    assert "../digits/seed0/freekd/epoch_2.pth" in links


def test_says_what_was_run(page):
    text = " ".join(page.find("header")[0][2].split())
    assert "5 training runs: 2 kinds of students and a teacher; seeds 0, 1" in text
    assert "CocoDataset digits/annotations/val.json" in text
    origin = page.find("section", id="origin")[0][2]
    for said in ("2.11.0", "1.7.2", "3.11.7", "a small one", "EpochBasedRunner", "40 iterations"):
        assert said in origin, said
    repeat = page.find("section", id="repeat")[0][2]
    for said in ("tools/study.py digits.py", "tools/train.py freekd.py", "tools/report.py",
                 "tools/analysis/robustness.py"):  # fmt: skip
        assert said in repeat, said


def test_one_run_is_a_report_too(new_run, tmp_path):
    run = new_run(tmp_path / "my run", seed=3, score=0.4)
    assert main([str(run)]) == 0
    page = Page((run / "report.html").read_text(encoding="utf-8"))
    assert page.find("h1")[0][2] == "my run"
    assert "1 training run: my run; seed 3" in " ".join(page.find("header")[0][2].split())
    assert page.tables[None][1][:2] == ["my run", ".400"]
    assert "pair.py" in page.find("section", id="repeat")[0][2]


def test_several_folders_are_told_apart(new_run, tmp_path, monkeypatch):
    one = new_run(tmp_path / "a" / "seed0" / "freekd", score=0.4).parents[1]
    two = new_run(tmp_path / "b" / "seed0" / "freekd", score=0.6).parents[1]
    monkeypatch.chdir(tmp_path)
    assert main([str(one), str(two)]) == 0
    page = Page(Path("report.html").read_text(encoding="utf-8"))
    rows = [row[:2] for row in page.tables[None][1:]]
    assert rows == [["a/freekd", ".400"], ["b/freekd", ".600"]]


def test_rows_of_two_studies_stay_apart(work, tmp_path):
    """Below one folder, and of one name: their rows are called alike, and are no seeds of one."""
    above = tmp_path / "above"
    for name in ("one", "two"):
        shutil.copytree(work, above / name / "digits", symlinks=True)
    plain = shutil.copytree(work / "seed0" / "freekd", above / "plain", symlinks=True)
    for folders in ([above], [above / "one" / "digits", above / "two" / "digits", plain]):
        material = write_report(folders, tmp_path / "page.html", force=True)
        rows = {(item.row.rpartition("/")[0], item.row.rpartition("/")[2], item.seed)
                for item in material.items}  # fmt: skip
        assert len(rows) == len(material.items) == 11
        page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
        said = {row[0]: row[1] for row in page.tables[None][1:]}
        for name in ("one", "two"):
            assert said[f"{name}/digits/FreeKD 1 of 3 runs failed"] == ".690 ± .014"


def test_gains_of_two_studies_are_each_on_its_own_baseline(work, tmp_path):
    two = shutil.copytree(work, tmp_path / "two", symlinks=True)
    text = (two / "study.json").read_text()
    text = text.replace('"bbox_mAP": 0.52', '"bbox_mAP": 0.32').replace('P": 0.5}', 'P": 0.3}')
    (two / "study.json").write_text(text)
    table = results(gather([work, two]))
    by = {row.row: row for row in table.rows}
    assert by["two/baseline"].by_seed["0"] == 0.3 and by["two/baseline"].gain is None
    assert by["digits/freekd"].base == "digits/student alone"
    assert by["two/freekd"].base == "two/student alone" and by["two/freekd"].gain == 0.18


def test_quickstart_summary_without_a_study(work):
    import json

    (work / "study.json").unlink()
    student = dict(
        mAP=0.69, mAP_spread=0.0141, mAP_by_seed={"0": 0.68, "1": 0.7}, seconds=90, label="FreeKD",
        parameters=1048462, checkpoint="work_dirs/x/student_freekd.pth",
    )  # fmt: skip
    alone = dict(
        student, mAP=0.51, mAP_by_seed={"0": 0.5, "1": 0.52}, label="student alone",
        checkpoint="work_dirs/x/student_baseline.pth",
    )  # fmt: skip
    summary = dict(
        teacher=dict(mAP=0.7555, seconds=10, parameters=21674046), seeds=[0, 1],
        students=dict(baseline=alone, freekd=student),
        plan=dict(teacher_epochs=14, prompt_iters=300, student_epochs=8),
    )  # fmt: skip
    (work / "summary.json").write_text(json.dumps(summary))
    (work / "student_freekd.pth").write_bytes(b"pth")
    write_report([work])
    page = Page((work / "report.html").read_text(encoding="utf-8"))
    rows = {row[0]: row for row in page.tables[None][1:]}
    assert rows["teacher"][1] == ".756" and "21,674,046" in rows["teacher"]
    assert "+.180" in rows["FreeKD"]  # (0.68 - 0.5 + 0.7 - 0.52) / 2
    assert "student_freekd.pth" in [e[1]["href"] for e in page.find("a")]
    notes = page.find("section", id="notes")[0][2]
    assert "student_baseline.pth: the student-only checkpoint is not there" in notes
    assert "--seeds 0 1 --methods baseline freekd --schedule 14 300 8" in page.text


def test_default_place():
    assert default_out([Path("a")]) == Path("a/report.html")
    assert default_out([Path("a"), Path("b")]) == Path("report.html")


def test_style_has_enough_contrast():
    """WCAG AA: 4.5 for text, 3 for lines, by its formula for relative luminance."""

    def luminance(color):
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one, other):
        high, low = sorted((luminance(one), luminance(other)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    css = (HERE / "page.css").read_text()
    blocks = re.findall(r"\{([^{}]*--bg:[^{}]*)\}", css)
    assert len(blocks) == 3
    for block in blocks:
        colors = dict(re.findall(r"--(\w+): (#\w{6})", block))
        for text in ("ink", "soft", "link", "c4"):
            for ground in ("bg", "card", "tint"):
                assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
        for line in (f"c{i}" for i in range(7)):
            assert contrast(colors[line], colors["bg"]) >= 3, line
    assert blocks[1].split() == blocks[2].split(), "dark by choice is dark by the system"
