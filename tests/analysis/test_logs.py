"""Logs of mmcv 1.x, written by hand here: whole runs, resumed runs, cut lines, other files."""

import math

import pytest
from written_logs import config, train, val, write

from freekd.analysis.config_text import data_set, read_config_text
from freekd.analysis.logs import read_log, read_run, read_runs
from freekd.config.errors import ConfigError
from freekd.fileio import UnreadableFileError


def steps(lines):
    return [line["step"] for line in lines]


# --------------------------------------------------------------------------- the steps
def test_an_epoch_s_length_comes_from_the_text_log(tmp_path):
    """25 iterations an epoch, every 10th logged: the third epoch's tenth is 2 * 25 + 10."""
    lines = []
    for epoch in (1, 2, 3):
        lines += [train(epoch, 10), train(epoch, 20), val(epoch, 7, epoch / 10)]
    write(tmp_path / "run", lines)
    text = "INFO - config:\nEpoch = 3\n2023 - mmdet - INFO - Epoch [1][10/25]\tlr: 1e-2, loss: 1\n"
    (tmp_path / "run" / "20230101_000000.log").write_text(text)
    run = read_run(tmp_path / "run")
    assert steps(run.train) == [10, 20, 35, 45, 60, 70]
    assert steps(run.val) == [25, 50, 75]
    assert run.curve("bbox_mAP") == {25: 0.1, 50: 0.2, 75: 0.3}
    assert (run.name, run.iters_per_epoch, run.meta["seed"], run.notes) == ("run", 25, 3, [])
    assert run.names() == ["lr", "memory", "data_time", "loss", "time", "bbox_mAP"]


def test_an_epoch_s_length_comes_from_the_first_line(tmp_path):
    write(tmp_path, [train(1, 10), train(2, 10)], meta=dict(iters_per_epoch=12))
    assert steps(read_run(tmp_path).train) == [10, 22]


def test_an_epoch_s_length_is_guessed_and_said(tmp_path):
    """The largest iteration logged is 20: the second epoch's tenth is 30, as far as one can say."""
    write(tmp_path, [train(1, 10), train(1, 20), val(1, 7, 0.1), train(2, 10)])
    run = read_run(tmp_path)
    assert steps(run.train) == [10, 20, 30]
    assert steps(run.val) == [20]
    (note,) = run.notes
    assert "20 iterations" in note


def test_only_scores_were_logged(tmp_path):
    write(tmp_path, [val(1, 7, 0.1), val(2, 7, 0.2)])
    run = read_run(tmp_path)
    assert steps(run.val) == [1, 2]
    assert "the steps are epochs" in run.notes[0]


@pytest.mark.parametrize("described", ["lines", "runner", "by_epoch"])
def test_a_run_that_counts_iterations(tmp_path, described):
    """mmseg: ``iter`` goes on; in lines with scores it is the number of batches evaluated (500).

    The evaluation of every 400 iterations came after 400 and 800, between the lines of 300 and
    450, 750 and 900; the one at the end after max_iters = 1000.
    """
    iterations = [150, 300, 450, 600, 750, 900]
    epochs = [1, 1, 1, 2, 2, 2] if described == "lines" else [1] * 6
    lines = [train(epoch, number) for epoch, number in zip(epochs, iterations)]
    lines.insert(2, val(1, 500, 0.1))
    lines.insert(6, val(epochs[4], 500, 0.2))
    lines.append(val(epochs[5], 500, 0.3))
    kind = "EpochBasedRunner" if described == "by_epoch" else "IterBasedRunner"
    meta = dict(config=config(kind, "max_iters=1000", 400))
    if described == "by_epoch":
        meta["by_epoch"] = False
    write(tmp_path, lines, meta=meta)
    run = read_run(tmp_path)
    assert steps(run.train) == iterations
    assert steps(run.val) == [400, 800, 1000]
    assert run.iters_per_epoch is None
    assert run.notes == []


def test_iterations_without_a_config(tmp_path):
    """Old mmcv wrote the iteration itself (475); a number of batches (7) says nothing."""
    lines = [train(1, 450), val(1, 475, 0.1), train(2, 500), val(2, 7, 0.2)]
    write(tmp_path, lines, meta=dict(config=None))
    assert steps(read_run(tmp_path).val) == [475, 500]


def test_evaluated_within_an_epoch(tmp_path):
    lines = [train(1, 10), val(1, 7, 0.1), train(1, 20), val(1, 7, 0.2)]
    write(tmp_path, lines, meta=dict(iters_per_epoch=25))
    assert steps(read_run(tmp_path).val) == [10, 25]


def test_a_resumed_run(tmp_path):
    """Stopped in epoch 3, gone on from the end of epoch 1: epoch 2 is the later file's."""
    meta = dict(iters_per_epoch=20)
    first = [train(1, 10, 9.0), train(1, 20, 8.0), val(1, 7, 0.1)]
    first += [train(2, 10, 7.0), train(2, 20, 6.0), val(2, 7, 0.2), train(3, 10, 5.0)]
    again = [train(2, 10, 7.5), train(2, 20, 6.5), val(2, 7, 0.25), train(3, 10, 5.5)]
    write(tmp_path, first, "20230101_000000", meta)
    write(tmp_path, again, "20230102_000000", dict(meta, seed=4))
    run = read_run(tmp_path)
    assert run.curve("loss") == {10: 9.0, 20: 8.0, 30: 7.5, 40: 6.5, 50: 5.5}
    assert run.curve("bbox_mAP") == {20: 0.1, 40: 0.25}
    assert run.meta["seed"] == 4
    assert len(run.files) == 2


def test_a_run_started_anew_in_its_folder(tmp_path):
    meta = dict(iters_per_epoch=20)
    write(tmp_path, [train(1, 10, 9.0), train(1, 20, 8.0), val(1, 7, 0.1)], "20230101_000000", meta)
    write(tmp_path, [train(1, 10, 4.0)], "20230101_000001", meta)
    run = read_run(tmp_path)
    assert run.curve("loss") == {10: 4.0}
    assert run.val == []


def test_a_later_file_that_has_only_a_first_line(tmp_path):
    write(tmp_path, [train(1, 10, 9.0)], "20230101_000000")
    write(tmp_path, [], "20230101_000001")
    (tmp_path / "20230101_000002.log.json").write_text("")
    run = read_run(tmp_path)
    assert run.curve("loss") == {10: 9.0}
    assert any("20230101_000002" in note and "empty" in note for note in run.notes)


def test_two_runs_in_one_file(tmp_path):
    """Started twice within a second: mmcv appends, and a first line stands in the middle."""
    lines = [train(1, 10, 9.0), dict(seed=5, exp_name="pair.py"), train(1, 10, 4.0)]
    write(tmp_path, lines)
    run = read_run(tmp_path)
    assert run.curve("loss") == {10: 4.0}
    assert run.meta["seed"] == 5


def test_rates_of_several_optimizers_and_values_that_are_not_finite(tmp_path):
    line = dict(train(1, 10, math.nan), lr=dict(student=0.1, gate=0.2))
    write(tmp_path, [line, dict(train(1, 20, math.inf), bbox_mAP_copypaste="0.1 0.2")])
    run = read_run(tmp_path)
    assert (run.train[0]["lr.student"], run.train[0]["lr.gate"]) == (0.1, 0.2)
    assert run.curve("loss") == {20: math.inf}
    assert "bbox_mAP_copypaste" not in run.names()


# --------------------------------------------------------------------------- bad input
def test_a_cut_line_is_left_out_and_said(tmp_path):
    path = write(tmp_path, [train(1, 10), train(1, 20)], end='\n{"mode": "train", "epo')
    with pytest.warns(UserWarning, match="the last line is not whole"):
        assert len(read_log(path)) == 3
    notes = []
    assert len(read_log(path, notes)) == 3
    assert "the last line" in notes[0]
    assert any("the last line" in note for note in read_run(tmp_path).notes)


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "the file is empty"),
        ("2023-01-01 - mmdet - INFO - Epoch [1][10/50]\nmore\n", "none of its 2 lines"),
        ('{"step": 10, "loss": 1.0}\n', "MMEngine"),
        ('{"boxes": [1, 2]}\n', "no line has a mode"),
        ('[1, 2]\n"mode"\n3\n', "none of its 3 lines"),
        ("\x89PNG\r\n\x1a\n", "none of its"),
    ],
)
def test_files_that_are_no_logs(tmp_path, text, said):
    path = tmp_path / "a.log.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UnreadableFileError, match=said):
        read_log(path)
    with pytest.raises(UnreadableFileError, match=said):
        read_run(tmp_path)


def test_nothing_was_logged(tmp_path):
    write(tmp_path, [])
    with pytest.raises(UnreadableFileError, match="before log_config.interval"):
        read_run(tmp_path)


def test_a_folder_without_logs(tmp_path):
    write(tmp_path / "digits" / "seed0", [train(1, 10)])
    with pytest.raises(FileNotFoundError, match=r"there are logs in .*seed0\. Name the work"):
        read_run(tmp_path / "digits")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="none below"):
        read_run(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="found nothing"):
        read_run(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="a folder"):
        read_log(tmp_path / "empty")


# --------------------------------------------------------------------------- several runs
def test_names_are_as_long_as_they_must_be(tmp_path):
    folders = [tmp_path / "seed0" / "a", tmp_path / "seed1" / "a", tmp_path / "seed1" / "b"]
    for folder in folders:
        write(folder, [train(1, 10)])
    assert [run.name for run in read_runs(folders)] == ["seed0/a", "seed1/a", "b"]
    assert len(read_runs([folders[0], folders[0]])) == 1
    two = [write(folders[0], [train(1, 10)], name) for name in ("20240101_0", "20240102_0")]
    assert [run.name for run in read_runs(two)] == ["20240101_0", "20240102_0"]


def test_runs_of_different_data_are_refused_with_both_names(tmp_path):
    write(tmp_path / "old", [train(1, 10)], meta=dict(config=config(root="/mnt/lustre/coco/")))
    write(tmp_path / "new", [train(1, 10)])
    write(tmp_path / "mine", [train(1, 10)], meta=dict(config=config(root="data/mine/")))
    write(tmp_path / "unknown", [train(1, 10)], meta=dict(config="nothing = f()"))
    same = read_runs([tmp_path / name for name in ("old", "new", "unknown")])
    assert [run.data for run in same] == [
        "CocoDataset coco/annotations/instances_val2017.json"
    ] * 2 + [None]
    with pytest.raises(ConfigError, match=r"old was .* coco/anno.* mine on .* mine/annotations"):
        read_runs([tmp_path / name for name in ("old", "new", "mine")])
    assert len(read_runs([tmp_path / "old", tmp_path / "mine"], same_data=False)) == 2


def test_a_config_s_text_is_data_and_never_run(tmp_path):
    trap = f"a = [-1, (2.5, None)]\nb = open({str(tmp_path / 'made')!r}, 'w')\nc = dict(a, x=1)\n"
    assert read_config_text(trap) == dict(a=[-1, (2.5, None)])
    assert not (tmp_path / "made").exists()
    assert read_config_text("a = (") == {}


def test_data_sets_in_wrappers_and_lists():
    part = dict(type="ADE20KDataset", data_root="/d/ade", img_dir="images/val", ann_dir="anno/val")
    wrapped = dict(type="RepeatDataset", times=2, dataset=part)
    assert data_set(dict(data=dict(val=wrapped))) == "ADE20KDataset ade/anno/val"
    both = data_set(dict(data=dict(val=[part, dict(part, ann_dir="anno/two")])))
    assert both == "ADE20KDataset ade/anno/val + ADE20KDataset ade/anno/two"
    assert data_set({}) is None
