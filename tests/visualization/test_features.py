"""The spatial softmax against its definition, and the picture made from it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib.image import imread

from freekd.visualization import draw_feature_maps, spatial_softmax_heatmap


@pytest.mark.parametrize("temperature", [0.1, 0.5, 3.0])
@pytest.mark.parametrize("absolute", [False, True])
def test_equals_torch_softmax_of_the_channel_mean(temperature, absolute):
    torch = pytest.importorskip("torch")
    feat = torch.randn(7, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = (feat.abs() if absolute else feat).mean(0)
    expected = torch.softmax(mean.flatten() / temperature, 0).reshape(5, 6).numpy()
    heat = spatial_softmax_heatmap(feat, temperature, absolute)
    np.testing.assert_allclose(heat, expected, rtol=1e-6)
    assert heat.sum() == pytest.approx(1.0)


def test_by_hand():
    # channel means 0 and log(9) / 2; divided by 0.5: 0 and log 9; softmax: 1/10 and 9/10
    feat = np.array([[[0.0, 0.0]], [[0.0, np.log(9.0)]]])
    np.testing.assert_allclose(spatial_softmax_heatmap(feat, 0.5), [[0.1, 0.9]])


def test_the_file_says_where_each_cell_is(tmp_path):
    """Cells of 32 pixels, 10 apart, 12 from the left and 34 from the top, each of one colour."""
    import json

    from PIL import Image

    image = np.full((8, 8, 3), (200, 10, 10), dtype=np.uint8)
    feats = {"one": np.zeros((2, 4, 4)), "two": np.zeros((2, 4, 4))}
    with Image.open(draw_feature_maps(image, feats, tmp_path / "x.png", cell=32)) as picture:
        cells = json.loads(picture.text["freekd-cells"])
        shown = picture.convert("RGB").crop(cells[0]["box"])
    assert [cell["name"] for cell in cells] == ["image", "one", "two"]
    assert [cell["row"] for cell in cells] == [0, 0, 0]
    boxes = [cell["box"] for cell in cells]
    assert boxes == [[12, 34, 44, 66], [54, 34, 86, 66], [96, 34, 128, 66]]
    assert shown.getcolors() == [(32 * 32, (200, 10, 10))]


def test_uniform_map_and_a_constant_shift():
    assert np.allclose(spatial_softmax_heatmap(np.full((3, 4, 5), 2.5)), 1 / 20)
    feat = np.random.RandomState(0).randn(3, 4, 5)
    shifted = spatial_softmax_heatmap(feat + 1000.0)  # would overflow without subtracting the peak
    np.testing.assert_allclose(shifted, spatial_softmax_heatmap(feat), rtol=1e-6)


@pytest.mark.parametrize(
    "feat, options, message",
    [
        (np.zeros((1, 3, 4, 4)), {}, r"\(C, H, W\) of one image, got \(1, 3, 4, 4\)"),
        (np.full((1, 2, 2), np.nan), {}, "not finite"),
        (np.zeros((1, 2, 2)), {"temperature": 0.0}, "temperature must be above 0, got 0.0"),
    ],
)
def test_refused_input(feat, options, message):
    with pytest.raises(ValueError, match=message):
        spatial_softmax_heatmap(feat, **options)


def test_half_precision_tensor_on_the_graph():
    torch = pytest.importorskip("torch")
    feat = torch.ones(2, 3, 3, dtype=torch.bfloat16, requires_grad=True)
    assert np.allclose(spatial_softmax_heatmap(feat), 1 / 9)


def test_picture(tmp_path):
    image = np.full((64, 64, 3), 128, dtype=np.uint8)
    feat = np.zeros((2, 8, 8))
    feat[:, 1, 1] = 4.0
    features = {"teacher": feat, "student": feat[..., ::-1], "flat": np.zeros((2, 4, 4))}
    out = draw_feature_maps(image, features, tmp_path / "a.png", cell=128)
    picture = imread(str(out))[..., :3]
    assert picture.shape[:2] == (34 + 128 + 84, 12 + 4 * 128 + 3 * 10 + 12)
    cells = [picture[34:162, 12 + i * 138 : 140 + i * 138] for i in range(4)]
    assert np.allclose(cells[0], 128 / 255, atol=0.01)
    # the peak is at row 1, column 1 of 8: its centre is 24 pixels from the upper left
    distance = np.abs(cells[1] - cells[1][100, 100]).sum(-1)
    row, column = np.unravel_index(distance.argmax(), distance.shape)
    assert abs(row - 24) <= 3 and abs(column - 24) <= 3
    assert np.abs(cells[1] - cells[2][:, ::-1]).max() < 0.05  # mirrored features, mirrored picture
    assert np.ptp(cells[3].reshape(-1, 3), axis=0).max() < 0.01  # uniform map, one colour


def test_no_models_to_draw(tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_feature_maps(np.zeros((8, 8, 3), dtype=np.uint8), {}, tmp_path / "a.png")


def test_import_needs_no_mm_package_and_no_pyplot():
    code = (
        "import sys, freekd.visualization; "
        "found = {'mmcv', 'mmdet', 'mmrazor', 'matplotlib.pyplot'} & set(sys.modules); "
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
