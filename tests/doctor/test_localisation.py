"""Where a loss looks: the AUC against scikit-learn's, and against cases known beforehand."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from freekd.doctor.localisation import auc, localisation, look
from freekd.doctor.measure import Places
from freekd.doctor.report import Report
from freekd.frequency import HAAR, build_transform
from freekd.prompts.where import box_weights


def test_auc_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.RandomState(0)
    for _ in range(10):
        labels = generator.rand(50) < 0.3
        scores = generator.randint(0, 8, 50) / 8  # with ties
        expected = metrics.roc_auc_score(labels, scores)
        assert auc(torch.tensor(scores), torch.tensor(labels)) == pytest.approx(expected)


def test_auc_needs_both_kinds():
    assert auc(torch.rand(4), torch.ones(4, dtype=torch.bool)) is None
    assert auc(torch.rand(4), torch.zeros(4, dtype=torch.bool)) is None


def test_boxes_find_themselves_and_equal_weights_nothing():
    boxes = [[(0.0, 0.0, 64.0, 64.0)], [(64.0, 64.0, 128.0, 128.0)]]
    inside = torch.zeros(2, 32, 32)
    inside[0, :16, :16], inside[1, 16:, 16:] = 1, 1
    found = localisation([box_weights(inside, 0.5, HAAR)], boxes, (128, 128), [(32, 32)], HAAR)
    assert found.auc == 1 and set(found.of_groups.values()) == {1.0}
    assert found.spread == pytest.approx(3**0.5 / 3, rel=0.1)  # 2 on a quarter, 2/3 elsewhere
    equal = [[torch.ones(2, *size) for size in HAAR.sizes((32, 32))]]
    found = localisation(equal, boxes, (128, 128), [(32, 32)], HAAR)
    assert found.auc == 0.5 and found.spread == 0


def test_without_boxes_there_is_no_auc():
    weights = [[torch.rand(1, *size) for size in HAAR.sizes((32, 32))]]
    assert localisation(weights, [[]], (128, 128), [(32, 32)], HAAR).auc is None


def test_weights_without_places_are_not_drawn(tmp_path):
    """A coefficient of a whole DCT belongs to no place of the image."""
    image = pytest.importorskip("PIL.Image")
    batch = dict(img=torch.zeros(1, 3, 32, 32), img_metas=[{}])
    dct, path = build_transform("dct"), tmp_path / "places.png"
    wavelet, whole = (
        Places(
            [[torch.rand(1, *size) for size in one.sizes((32, 32))]], [(32, 32)], one, "band", True
        )
        for one in (HAAR, dct)
    )
    report = Report("x")
    look(SimpleNamespace(kind="stage 2"), report, [dict(whole=whole)], [batch], str(path))
    assert "was not written: no loss here weights places" in report.notes[0] and not path.exists()
    look(SimpleNamespace(kind="stage 2"), report, [dict(a=wavelet, b=whole)], [batch], str(path))
    cells = json.loads(image.open(path).text["freekd-cells"])
    assert [cell["name"] for cell in cells] == ["image and boxes", "a"]
