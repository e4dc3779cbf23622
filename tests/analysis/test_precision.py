"""AP by class and size against mmdet's own evaluation, and by hand."""

import json
import re

import numpy as np
import pytest
from analysis.scenes import scenes

from freekd import compat

compat.apply()

from freekd.analysis import precision
from freekd.tasks import det_results
from freekd.tasks.objects import as_arrays, from_arrays, objects

BOX = [0, 0, 10, 10]


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """A CocoDataset of random scenes of all sizes, with ids that are no places, and its results."""
    from mmdet.datasets import build_dataset

    truth, found = scenes(1, images=25, crowds=0.15, shift=1, stretch=0.15)
    grow = [1.0, 1.5, 6.0]  # small, medium and large ones
    truth, found = (
        [objects(one.boxes * grow[n % 3], one.labels, one.scores, one.ignored) for n, one in part]
        for part in (list(enumerate(truth)), list(enumerate(found)))
    )
    ids = [7 * n + 100 for n in range(len(truth))]
    images = [dict(id=n, file_name=f"{n}.png", width=800, height=800) for n in ids]
    categories = [dict(id=n, name=name) for n, name in ((3, "a"), (4, "b"), (9, "c"), (5, "other"))]
    rows = [
        dict(id=0, image_id=n, category_id=(3, 4, 9)[label], bbox=box, area=0.8 * box[2] * box[3],
             iscrowd=int(ignored))
        for n, one in zip(ids, truth)
        for box, label, ignored in zip(one.boxes.tolist(), one.labels, one.ignored)
    ]  # fmt: skip
    rows.append(dict(id=0, image_id=ids[0], category_id=5, bbox=BOX, area=100, iscrowd=0))
    for number, row in enumerate(rows, 1):
        row["id"] = number
    file = tmp_path_factory.mktemp("coco") / "ann.json"
    file.write_text(json.dumps(dict(images=images, categories=categories, annotations=rows)))
    dataset = build_dataset(
        dict(type="CocoDataset", ann_file=str(file), pipeline=[], classes=("a", "b", "c"),
             test_mode=True)
    )  # fmt: skip
    assert dataset.cat2label == {3: 0, 4: 1, 9: 2}
    results = []
    for one in found:
        corners = np.c_[one.boxes[:, :2], one.boxes[:, :2] + one.boxes[:, 2:], one.scores]
        results.append([corners[one.labels == n].astype(np.float32) for n in range(3)])
    return dataset, results, file


def test_as_mmdet_evaluates(coco, capsys):
    dataset, results, _ = coco
    expected = dataset.evaluate(results, metric="bbox", classwise=True)
    printed = capsys.readouterr().out
    truth = det_results.labelled(dataset)
    found = [det_results.detected(one) for one in results]
    table = precision.tables(precision.evaluate(truth, found, 3), dataset.CLASSES)
    names = {"bbox_mAP": table["AP"], "bbox_mAP_50": table["AP50"], "bbox_mAP_75": table["AP75"]}
    for size in precision.SIZES:
        names[f"bbox_mAP_{size[0]}"] = table["by_size"][size]["AP"]
    assert all(value > 0.01 for value in names.values())
    for name, value in names.items():
        assert value == pytest.approx(expected[name], abs=6e-4)  # mmdet rounds to three digits
    for label, name in enumerate(dataset.CLASSES):
        row = table["by_class"][name]
        stock = float(re.search(rf"\| {name} +\| ([0-9.]+)", printed).group(1))
        assert row["AP"] == pytest.approx(stock, abs=6e-4)
        count = sum(((one.labels == label) & ~one.ignored).sum() for one in truth)
        assert row["objects"] == count
    assert table["AP50"] == pytest.approx(np.mean(table["curves"]["0.50"]), abs=1e-5)
    assert len(table["curves"]["recall"]) == 101


def test_kept_results_are_the_same(coco):
    _, results, _ = coco
    found = [det_results.detected(one) for one in results]
    again = from_arrays(as_arrays(found), len(found))
    assert all(np.array_equal(x, y) for a, b in zip(found, again) for x, y in zip(a, b))


def test_a_file_as_mmdet_writes_it(coco, tmp_path):
    """--format-only and reading it back gives what the model gave."""
    dataset, results, _ = coco
    files, _ = dataset.format_results(results, jsonfile_prefix=str(tmp_path / "out"))
    found = [det_results.detected(one) for one in results]
    again = det_results.read(dataset, files["bbox"])
    for a, b in zip(found, again):
        assert np.array_equal(a.labels, b.labels) and np.allclose(a.scores, b.scores)
        assert np.allclose(a.boxes, b.boxes, atol=1e-4)


@pytest.mark.parametrize(
    "text, message",
    [
        ("not json", "expected a JSON list"),
        ("{}", "expected a JSON list"),
        ('[{"image_id": 100}]', "KeyError: 'category_id'"),
        ('[{"image_id": 100, "category_id": 3, "bbox": [1, 2], "score": 1}]', r"bbox=\[1.0, 2.0\]"),
        ('[{"image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 1], "score": 1}]', "image_id 1 "),
        (
            '[{"image_id": 100, "category_id": 5, "bbox": [0, 0, 1, 1], "score": 1}]',
            "category_id 5",
        ),
        ('[{"image_id": 100, "category_id": 3, "bbox": [0, 0, 1, NaN], "score": 1}]', "nan"),
        ('[{"image_id": 100, "category_id": 3, "bbox": [0, 0, 1, 1], "score": "x"}]', "expected"),
        ('[{"image_id": [1], "category_id": 3, "bbox": [0, 0, 1, 1], "score": 1}]', "expected"),
    ],
)
def test_other_files_are_refused(coco, tmp_path, text, message):
    from freekd.tasks import TaskError

    dataset, _, _ = coco
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(TaskError, match=message):
        det_results.read(dataset, str(tmp_path / "x.json"))


def test_a_file_without_detections(coco, tmp_path):
    (tmp_path / "x.json").write_text("[]")
    found = det_results.read(coco[0], str(tmp_path / "x.json"))
    assert [len(one.labels) for one in found] == [0] * len(coco[0])


def test_by_hand():
    """Class 0: one of two found first, precision 1 to recall 0.5; class 1 has no object."""
    truth = [objects([BOX, [50, 50, 40, 40]], [0, 0])]
    found = [objects([BOX, [20, 0, 5, 5]], [0, 1], [0.9, 0.8])]
    table = precision.tables(precision.evaluate(truth, found, 2), ("x", "y"))
    assert table["AP"] == table["AP50"] == pytest.approx(51 / 101, abs=1e-6)  # 0, 0.01, ..., 0.5
    assert table["by_class"]["y"] == dict(
        AP=None, AP50=None, AP75=None, small=None, medium=None, large=None, objects=0
    )
    small, medium, large = (table["by_size"][size] for size in precision.SIZES)
    assert small == dict(AP=1.0, AR=1.0, objects=1)
    assert medium == dict(AP=0.0, AR=0.0, objects=1)
    assert large == dict(AP=None, AR=None, objects=0)
    assert table["curves"]["0.50"] == [1.0] * 51 + [0.0] * 50


def test_ignored_objects_of_any_class():
    truth = [objects([BOX, [50, 50, 40, 40]], [0, -1], ignored=[False, True])]
    found = [objects([BOX, [55, 55, 9, 9], [55, 55, 9, 9]], [0, 0, 1], [0.5, 0.9, 0.8])]
    table = precision.tables(precision.evaluate(truth, found, 2), ("x", "y"))
    assert table["AP"] == 1.0 and table["by_class"]["x"]["objects"] == 1


def test_no_detection_and_no_object():
    truth = [objects([BOX], [0])]
    none = [objects([], [])]
    assert precision.tables(precision.evaluate(truth, none, 1), ("x",))["AP"] == 0
    assert precision.tables(precision.evaluate(none, none, 1), ("x",))["AP"] is None
    assert precision.tables(precision.evaluate(none, truth, 1), ("x",))["AP"] is None


def test_a_dataset_without_coco_s_annotations(tmp_path):
    import pickle

    from mmdet.datasets import build_dataset

    ann = dict(
        bboxes=np.array([[1, 2, 11, 22]], np.float32), labels=np.array([1]),
        bboxes_ignore=np.array([[0, 0, 5, 5]], np.float32),
    )  # fmt: skip
    infos = [dict(filename="0.png", width=64, height=64, ann=ann)]
    (tmp_path / "infos.pkl").write_bytes(pickle.dumps(infos))
    cfg = dict(type="CustomDataset", ann_file=str(tmp_path / "infos.pkl"), pipeline=[],
               classes=("x", "y"), test_mode=True)  # fmt: skip
    (one,) = det_results.labelled(build_dataset(cfg))
    assert one.boxes.tolist() == [[1, 2, 10, 20], [0, 0, 5, 5]]
    assert one.labels.tolist() == [1, -1] and one.ignored.tolist() == [False, True]
    assert one.areas.tolist() == [200, 25]
