"""What each task counts, against scikit-learn and the hosts' own scores."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from freekd import compat

compat.apply()

from freekd.tasks import TaskError, det_results, get, seg


class Labels:
    """A data set of label maps, as mmseg's answers."""

    CLASSES = ("a", "b", "c")
    ignore_index = 255

    def __init__(self, maps, reduce_zero_label=False):
        self.maps, self.reduce_zero_label = maps, reduce_zero_label

    def get_gt_seg_map_by_idx(self, index):
        return self.maps[index]


def random_maps(seed=0, count=4, size=(20, 30)):
    random = np.random.RandomState(seed)
    coarse = random.choice([0, 1, 2, 255], (count, 4, 6), p=[0.3, 0.3, 0.3, 0.1])
    labels = coarse.repeat(5, 1).repeat(5, 2).astype(np.uint8)
    wrong = random.uniform(size=labels.shape) < 0.3
    found = np.where(wrong, random.randint(0, 3, labels.shape), labels % 255 % 3)
    return labels, found


def test_pixels_are_scikit_learn_s():
    labels, found = random_maps()
    dataset = Labels(labels)
    counts = sum(seg.count_pixels(dataset, one, n) for n, one in enumerate(found))
    kept = labels != 255
    expected = confusion_matrix(labels[kept], found[kept], labels=[0, 1, 2])
    assert counts.sum(axis=0).tolist() == expected.tolist()
    assert (counts.sum(axis=(1, 2)) > 0).all()  # near a boundary, and inside


def test_pixels_give_mmseg_s_iou():
    from mmseg.core.evaluation import intersect_and_union, pre_eval_to_metrics

    labels, found = random_maps(1)
    for reduced in (False, True):
        maps = np.where(labels == 255, 0, labels + 1) if reduced else labels
        dataset = Labels(maps.astype(np.uint8), reduced)
        counts = sum(seg.count_pixels(dataset, one, n) for n, one in enumerate(found)).sum(axis=0)
        stock = pre_eval_to_metrics(
            [
                intersect_and_union(one, maps[n].astype(np.uint8), 3, 255, {}, reduced)
                for n, one in enumerate(found)
            ]
        )
        right = np.diag(counts)
        iou = right / (counts.sum(axis=0) + counts.sum(axis=1) - right)
        assert np.allclose(iou, stock["IoU"])


def test_boundary_by_hand():
    labels = np.zeros((1, 9), dtype=np.uint8)
    labels[0, 8] = 1
    # within three pixels of another label: the places 5, 6, 7 and 8
    boundary, interior = seg.count_pixels(Labels([labels]), np.zeros((1, 9), dtype=int), 0)
    assert boundary.tolist() == [[3, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert interior.tolist() == [[5, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_labels_without_a_class_are_not_counted():
    labels = np.array([[0, 3, 255]], dtype=np.uint8)
    counts = seg.count_pixels(Labels([labels]), np.array([[1, 1, 1]]), 0)
    assert counts.sum(axis=0).tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_a_result_of_another_size_is_refused():
    with pytest.raises(TaskError, match=r"label map \(1, 9\), the model gives \(2, 9\)"):
        seg.count_pixels(Labels([np.zeros((1, 9))]), np.zeros((2, 9), dtype=int), 0)


def test_a_class_without_a_name_is_refused():
    with pytest.raises(TaskError, match="3 are named, the model found class 3"):
        seg.count_pixels(Labels([np.zeros((1, 2))]), np.array([[0, 3]]), 0)


# --------------------------------------------------------------------------- detection
def test_results_of_every_kind_of_detector():
    boxes = [np.array([[1, 2, 4, 6, 0.5]]), np.zeros((0, 5))]
    for result in (boxes, (boxes, "masks"), dict(pan_results=None, ins_results=(boxes, "masks"))):
        one = det_results.detected(result)
        assert one.boxes.tolist() == [[1, 2, 3, 4]] and one.scores.tolist() == [0.5]
        assert one.labels.tolist() == [0]
    for nothing in ([], dict(), [np.zeros((0, 5))] * 2):
        assert len(det_results.detected(nothing).labels) == 0


# --------------------------------------------------------------------------- classification
class Images:
    CLASSES = ("a", "b", "c")

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def get_gt_labels(self):
        return np.array(self.labels)


def classified(monkeypatch, dataset, scores):
    task = get("cls")
    monkeypatch.setattr(type(task), "test", lambda *_: list(scores))
    return task.results(None, SimpleNamespace(dataset=dataset))


def test_images_are_scikit_learn_s(monkeypatch):
    random = np.random.RandomState(0)
    labels, scores = random.randint(0, 3, 50), random.uniform(size=(50, 3))
    counts = classified(monkeypatch, Images(labels), scores)
    expected = confusion_matrix(labels, scores.argmax(axis=1))
    assert list(counts) == ["images"] and counts["images"].tolist() == expected.tolist()


def test_data_sets_that_cannot_be_counted(monkeypatch):
    with pytest.raises(TaskError, match="one label of them for each image"):
        classified(monkeypatch, Images([[0, 1, 1]]), np.zeros((1, 3)))  # of several labels
    with pytest.raises(TaskError, match=r"3 are named, the model gives scores of shape \(5,\)"):
        classified(monkeypatch, Images([0, 1]), np.zeros((2, 5)))
    with pytest.raises(TaskError, match="one label of them for each image"):
        classified(monkeypatch, Images([0, 3]), np.zeros((2, 3)))  # there is no class 3
    with pytest.raises(TaskError, match="whose label maps can be read, got a SimpleNamespace"):
        get("seg").results(None, SimpleNamespace(dataset=SimpleNamespace()))
    with pytest.raises(TaskError, match="one data set with boxes, got a SimpleNamespace"):
        get("det").objects(SimpleNamespace())


@pytest.mark.parametrize("name", ("seg", "cls"))
def test_results_of_a_file_are_detections(name):
    assert get(name).objects(None) is None
    with pytest.raises(TaskError, match="read from a file for detection only"):
        get(name).read_results(None, "x.json")
