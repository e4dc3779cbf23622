"""The 15 corruptions: repeatable, all different, and no trace left in the random generators."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from freekd.analysis.robustness import corruptions
from freekd.analysis.robustness.corruptions import NAMES, SEVERITIES, corrupt
from freekd.config.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
needs_package = pytest.mark.skipif(
    not pytest.importorskip("importlib.util").find_spec("imagecorruptions"),
    reason=f"not installed: {corruptions.INSTALL}",
)


def picture(height=57, width=45):
    """Smooth colours that differ by channel, with an edge and a little texture."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([90 + 60 * np.sin(x / 5), 120 + 70 * np.cos(y / 7), 2.0 * (x + y)], axis=-1)
    image[height // 3 :, width // 2 :] += 40
    image += np.random.RandomState(0).normal(size=image.shape) * 4
    return image.clip(0, 255).astype(np.uint8)


def test_the_benchmark_s_names():
    assert len(NAMES) == len(set(NAMES)) == 15 and SEVERITIES == (1, 2, 3, 4, 5)


@needs_package
def test_the_package_has_them_in_this_order():
    assert list(NAMES) == corruptions.package().get_corruption_names("common")


@needs_package
@pytest.mark.parametrize("name", NAMES)
def test_each_corruption(name):
    """Odd sizes; equal again, whatever was drawn between; another picture for each severity."""
    image = picture()
    before = image.copy()
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    made = [corrupt(image, "a.png", name, severity) for severity in SEVERITIES]
    after = random.getstate(), np.random.get_state()[1], torch.get_rng_state()
    assert states[0] == after[0] and (states[1] == after[1]).all()
    assert torch.equal(states[2], after[2]) and (image == before).all()
    np.random.rand(7)
    for severity, one in reversed(list(zip(SEVERITIES, made))):
        assert one.shape == image.shape and one.dtype == np.uint8
        assert (one == corrupt(image, "a.png", name, severity)).all()
        assert (one != image).any()
    for first in range(5):
        for second in range(first):
            assert (made[first] != made[second]).any()


RANDOM = sorted(set(NAMES) - {
    "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"
})  # fmt: skip


@needs_package
@pytest.mark.parametrize("name", NAMES)
def test_another_image_has_other_random_numbers(name):
    image = picture()
    same = (corrupt(image, "a.png", name, 3) == corrupt(image, "b.png", name, 3)).all()
    assert same == (name not in RANDOM)


@needs_package
@pytest.mark.parametrize("size", [(32, 32), (33, 400), (1000, 37), (700, 1101)])
@pytest.mark.parametrize("name", ["frost", "fog", "snow", "zoom_blur", "elastic_transform"])
def test_sizes(size, name, capsys):
    """Those of which the corruption makes a layer: the package says so where it does not fit."""
    made = corrupt(picture(*size), "a.png", name, 5)
    assert made.shape == (*size, 3) and "Exception" not in capsys.readouterr().out


@needs_package
def test_severities_are_the_benchmark_s():
    """ImageNet-C's contrast keeps .4, .3, .2, .1, .05 of what deviates from the channel's mean."""
    image = picture()
    deviation = image.astype(float) - image.mean(axis=(0, 1))
    for severity, kept in zip(SEVERITIES, (0.4, 0.3, 0.2, 0.1, 0.05)):
        made = corrupt(image, "a.png", "contrast", severity).astype(float)
        wanted = image.mean(axis=(0, 1)) + kept * deviation
        assert np.abs(made - wanted).max() <= 1  # it cuts, and does not round


@needs_package
def test_noise_has_the_benchmark_s_size():
    """Gaussian noise of severity 1 has a standard deviation of .08 x 255 = 20.4."""
    grey = np.full((200, 200, 3), 128, dtype=np.uint8)
    made = corrupt(grey, "a.png", "gaussian_noise", 1).astype(float)
    assert made.std() == pytest.approx(20.4, rel=0.02) and abs(made.mean() - 127.5) < 0.5


@needs_package
def test_channels_are_handed_over_as_rgb():
    """OpenCV loads BGR: a mirrored picture is corrupted to the mirrored result."""
    image = picture()
    for name in ("frost", "snow", "gaussian_noise"):
        rgb = corrupt(image, "a.png", name, 2, bgr=False)
        bgr = corrupt(image[..., ::-1], "a.png", name, 2, bgr=True)
        assert (bgr == rgb[..., ::-1]).all()
    assert (rgb != bgr).any()


@needs_package
def test_types_and_grey_images():
    image = picture()
    whole = corrupt(image, "a.png", "fog", 2)
    real = corrupt(image.astype(np.float32), "a.png", "fog", 2)
    assert real.dtype == np.float32 and (real == whole).all()
    grey = corrupt(image[..., 0], "a.png", "contrast", 1)
    assert grey.shape == image.shape[:2]
    mean = image[..., 0].mean()
    assert np.abs(grey - (mean + 0.4 * (image[..., 0] - mean))).max() <= 1.5
    assert corrupt(image[..., :1], "a.png", "contrast", 1).shape == (*image.shape[:2], 1)


def test_images_that_cannot_be_corrupted():
    for image, words in (
        (np.zeros((31, 40, 3), np.uint8), "32 x 32 pixels to corrupt, got 40 x 31"),
        (np.zeros((40, 40, 4), np.uint8), "got the shape (40, 40, 4)"),
    ):
        with pytest.raises(corruptions.CorruptionError) as error:
            corrupt(image, "small.png", "fog", 1)
        assert words in str(error.value) and "small.png" in str(error.value)


@needs_package
def test_another_process_makes_the_same_images():
    """In another order, with another hash seed."""
    code = (
        "import sys; sys.path[:0] = ['.', 'tests/analysis']\n"
        "from test_corruptions import *\n"
        "print(sum(hash_of(corrupt(picture(), 'a.png', n, 2)) for n in NAMES[::-1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=str(ROOT), capture_output=True, text=True, check=False,
        env={"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours = sum(hash_of(corrupt(picture(), "a.png", name, 2)) for name in NAMES)
    assert int(done.stdout.splitlines()[-1]) == ours


def hash_of(image):
    import hashlib

    return int(hashlib.sha256(image.tobytes()).hexdigest(), 16)


def test_names_and_severities_of_the_command_line():
    assert corruptions.check_names(["digital", "snow"]) == [
        "snow", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="got 'motionblur'. Did you mean 'motion_blur'"):
        corruptions.check_names(["motionblur"])
    assert corruptions.check_severities([5, 1, 5]) == [1, 5]
    with pytest.raises(ConfigError, match="from 1 to 5, got 0"):
        corruptions.check_severities([0, 1])


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)  # as if it were not there
    with pytest.raises(ConfigError, match="pip install --no-deps -r requirements/robustness.txt"):
        corruptions.package()


def test_the_pins_fit_the_pinned_set():
    """Every package once, exactly, and none that requirements/pinned.txt has in another version."""
    from packaging.requirements import Requirement

    def pins(name):
        lines = (ROOT / "requirements" / name).read_text().splitlines()
        found = [Requirement(line) for line in lines if line and not line.startswith("#")]
        found = [one for one in found if one.marker is None or one.marker.evaluate()]
        assert all(str(one.specifier).startswith("==") for one in found)
        assert len({one.name.lower() for one in found}) == len(found)
        return {one.name.lower(): str(one.specifier)[2:] for one in found}

    ours, pinned = pins("robustness.txt"), pins("pinned.txt")
    assert not set(ours) & set(pinned) and "imagecorruptions-imaug" in ours
    assert not {"opencv-python", "numpy"} & set(ours)


@needs_package
def test_what_the_packages_ask_for_is_there():
    """All that they need is pinned, there or in the pinned set; cv2 comes from the headless one."""
    import importlib.metadata as metadata

    from packaging.requirements import Requirement

    for name in ("imagecorruptions-imaug", "scikit-image", "numba", "llvmlite", "imageio"):
        for text in metadata.requires(name) or []:
            need = Requirement(text)
            wanted = need.marker is None or need.marker.evaluate({"extra": ""})
            if wanted and need.name != "opencv-python":
                assert need.specifier.contains(metadata.version(need.name)), (name, text)
