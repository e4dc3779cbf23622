"""What a study reads of its runs, and the figures of its table."""

import json

import numpy as np
import pytest
from scipy import stats

from freekd.study import result, scores


def run(row, seed, score=None, status="done", step=100.0):
    metrics = {} if score is None else {"bbox_mAP": score}
    return dict(
        row=row, label=row, seed=seed, status=status, metrics=metrics, metric="bbox_mAP",
        step_ms=step, command=f"train {row} {seed}", error="no disk" if status != "done" else None,
    )  # fmt: skip


def summarise(runs):
    labels = {"alone": "student alone", "a": "A"}
    rows = result.summarise(runs, labels, "alone", "bbox_mAP", ["alone", "a"])
    return rows, {row["row"]: row for row in rows}


def test_figures_by_hand():
    """Differences .10, .20, .30: mean .2, s = .1, s / sqrt(3) = .057735; t(.975, 2) = 4.302653."""
    runs = [run("alone", s, x, step=50) for s, x in enumerate((0.50, 0.52, 0.48))]
    runs += [run("a", s, x, step=10 * s) for s, x in enumerate((0.60, 0.72, 0.78))]
    rows, by = summarise(runs)
    assert [row["row"] for row in rows] == ["alone", "a"]
    assert by["alone"]["mean"] == pytest.approx(0.50) and by["alone"]["std"] == pytest.approx(0.02)
    assert by["a"]["mean"] == pytest.approx(0.70)
    assert by["a"]["std"] == pytest.approx((0.0084) ** 0.5, rel=1e-6)  # (.01 + .0004 + .0064) / 2
    assert by["a"]["gain"] == pytest.approx(0.2)
    assert by["a"]["gain_low"] == pytest.approx(0.2 - 0.248414, abs=1e-6)
    assert by["a"]["gain_high"] == pytest.approx(0.2 + 0.248414, abs=1e-6)
    assert (by["alone"]["gain"], by["alone"]["gain_low"]) == (None, None)
    assert by["a"]["step_ms"] == pytest.approx(10) and by["alone"]["step_ms"] == 50
    assert by["a"]["command"] == "train a 0"


def test_the_interval_is_that_of_scipy():
    rng = np.random.RandomState(0)
    base, other = rng.rand(2, 7)
    found = result.paired(dict(enumerate(other)), dict(enumerate(base)))
    expected = stats.ttest_rel(other, base).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.n == 7


def test_only_equal_seeds_are_paired():
    """Seed 2 of the row has no partner, nor has seed 3 of the baseline."""
    found = result.paired({0: 0.7, 1: 0.9, 2: 5.0}, {1: 0.5, 0: 0.6, 3: 9.0})
    assert found.mean == pytest.approx((0.1 + 0.4) / 2) and found.n == 2
    assert result.paired({0: 1.0}, {1: 1.0}) is None
    one = result.paired({0: 0.7}, {0: 0.5})
    assert one.mean == pytest.approx(0.2) and (one.low, one.high) == (None, None)


def test_a_failed_run_is_no_number():
    runs = [run("alone", 0, 0.5), run("alone", 1, 0.6)]
    runs += [run("a", 0, 0.7), run("a", 1, None, "failed", None)]
    rows, by = summarise(runs)
    assert (by["a"]["n"], by["a"]["mean"], by["a"]["std"], by["a"]["failed"]) == (1, 0.7, None, 1)
    assert by["a"]["gain"] == pytest.approx(0.2) and by["a"]["gain_n"] == 1
    text = result.table(dict(rows=rows, runs=runs, baseline="alone", metric="bbox_mAP"))
    assert "1 FAILED" in text and "a, seed 1: failed. no disk" in text
    assert "A: train a 0" in text and "0.550 +- 0.071" in text  # s of .5 and .6 is .1 / sqrt(2)
    assert "gain on student alone" in text


def test_machines_that_differ_are_said():
    runs = [dict(run("alone", 0, 0.5), machine="A"), dict(run("a", 0, 0.5), machine="A")]
    study = dict(rows=summarise(runs)[0], runs=runs, baseline="alone", metric="bbox_mAP")
    assert "cannot be compared" not in result.table(study)
    runs[1]["machine"] = "B"
    assert "machines that differ (A; B): ms per step cannot be compared" in result.table(study)


def test_nothing_finished():
    rows, by = summarise([run("alone", 0, None, "not run"), run("a", 0, None, "failed")])
    assert by["alone"]["missing"] == 1 and by["alone"]["mean"] is None
    assert by["a"]["gain"] is None and by["a"]["failed"] == 1


# --------------------------------------------------------------------------- logs
def write(folder, name, *records):
    text = "\n".join(json.dumps(record) for record in records)
    (folder / f"{name}.log.json").write_text(text + "\n")


def test_last_evaluation(tmp_path):
    assert scores.last_evaluation(tmp_path) is None
    first = dict(mode="val", epoch=1, iter=5, lr=0.1, bbox_mAP=0.1, bbox_mAP_50=0.2, text="0.1")
    write(tmp_path, "1", dict(env_info="x"), first, dict(mode="train", loss=1))
    write(tmp_path, "2", dict(first, bbox_mAP=0.3), dict(mode="train", loss=1))
    assert scores.last_evaluation(tmp_path) == {"bbox_mAP": 0.3, "bbox_mAP_50": 0.2}
    write(tmp_path, "3", dict(mode="val", epoch=2, iter=5, lr=0.1))  # nothing was detected
    assert scores.last_evaluation(tmp_path) == {}  # not what it was before


def test_an_earlier_evaluation_is_not_that_of_the_end(tmp_path):
    """Stopped after the checkpoint of epoch 8: the next process finds the run finished."""
    write(tmp_path, "1", dict(seed=0), dict(mode="val", epoch=7, iter=4, bbox_mAP=0.6))
    assert scores.last_evaluation(tmp_path) == {"bbox_mAP": 0.6}
    write(tmp_path, "2", dict(seed=0))
    assert scores.last_evaluation(tmp_path) is None
    write(tmp_path, "3", dict(seed=0), dict(mode="val", epoch=8, iter=4, bbox_mAP=0.7))
    assert scores.last_evaluation(tmp_path) == {"bbox_mAP": 0.7}


def test_a_step_costs_the_median_and_half_a_line_nothing(tmp_path):
    assert scores.step_ms(tmp_path) is None
    write(tmp_path, "1", *(dict(mode="train", time=t) for t in (9.0, 0.1, 0.2)))
    with open(tmp_path / "1.log.json", "a") as log:
        log.write('{"mode": "train", "ti')
    write(tmp_path, "2", dict(mode="train", time=0.3), dict(mode="val", time=50.0))
    assert scores.step_ms(tmp_path) == 250.0  # of .1, .2, .3, 9.
