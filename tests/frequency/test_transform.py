"""The transform as an object: its protocol, its config form, and that a sibling fits."""

from typing import NamedTuple

import pytest
import torch
from torch.nn import functional as F

from freekd.frequency import (
    HAAR,
    TRANSFORMS,
    Transform,
    WaveletTransform,
    build_transform,
    dwt2,
    idwt2,
)
from freekd.frequency.groups import BandGroup, selected_groups
from freekd.frequency.transform import refuse_old
from freekd.losses.freekd import FreeKDLoss, freekd_loss
from freekd.prompts.file import load_prompts, save_prompts
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.reconstruction import masked_reconstruction
from freekd.prompts.spec import PromptSpec

WAVES = [
    WaveletTransform(),
    WaveletTransform("db2", 2, "symmetric"),
    WaveletTransform("haar", 2, "periodization"),
    WaveletTransform("bior2.2", 1),
]


# --------------------------------------------------------------------------- the wavelet
@pytest.mark.parametrize("transform", WAVES, ids=repr)
@pytest.mark.parametrize("size", [(16, 24), (13, 9), (1, 5)])
def test_the_object_is_the_functions(transform, size):
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    bands = transform.analyse(x)
    want = dwt2(x, transform.wavelet, transform.levels, transform.mode)
    for (name, band), (want_name, wanted), known in zip(
        bands.named(), want.named(), transform.names
    ):
        assert name == want_name == known and torch.equal(band, wanted)
    assert [tuple(band.shape[-2:]) for band in bands.flat()] == transform.sizes(x.shape)
    back = transform.synthesise(transform.bands(bands.flat()), size)
    assert torch.equal(back, idwt2(want, transform.wavelet, transform.mode, size))
    torch.testing.assert_close(back, x)
    difference = transform.difference(x, x * 0.5)
    torch.testing.assert_close(difference, [band * 0.5 for band in bands.flat()])


def test_groups():
    transform = WaveletTransform(levels=2)
    assert [group.name for group in transform.groups()] == list(transform.names)
    level = transform.groups("level")
    assert level[2] == BandGroup("level2", (4, 5, 6), False)
    x = torch.randn(1, 2, 8, 8)
    bands = transform.analyse(x)
    for group, summed in zip(level, transform.prompted(bands, "level")):
        assert torch.equal(summed, sum(bands.flat()[i] for i in group.members))
    kept = {
        bands: [i for i, _ in selected_groups(level, bands)] for bands in ("all", "high", "low")
    }
    assert kept == dict(all=[0, 1, 2], high=[1, 2], low=[0])


def test_when_haar_applies():
    assert HAAR.haar_levels((2, 3, 13, 9)) == 3
    symmetric = WaveletTransform(mode="symmetric")
    assert symmetric.haar_levels((13, 9)) == 0 and symmetric.haar_levels((16, 8)) == 3
    assert WaveletTransform("db2").haar_levels((16, 8)) == 0


# --------------------------------------------------------------------------- weights with places
def test_a_weight_with_places_is_averaged_over_each_coefficients_own_samples():
    size = (13, 9)
    weight = torch.rand(2, 1, *size, dtype=torch.float64)
    found = WaveletTransform(levels=2).averaged(weight)
    assert [w.shape[-2:] for w in found] == WaveletTransform(levels=2).sizes(size)
    for level, band in ((2, found[0]), (1, found[1]), (2, found[6])):
        step = 2**level
        for y in range(band.shape[-2]):
            for x in range(band.shape[-1]):
                own = weight[:, 0, y * step : (y + 1) * step, x * step : (x + 1) * step]
                torch.testing.assert_close(band[:, 0, y, x], own.mean(dim=(1, 2)))


@pytest.mark.parametrize("transform", WAVES, ids=repr)
@pytest.mark.parametrize("size", [(16, 24), (13, 9), (1, 5)])
def test_averages_have_the_bands_sizes_and_keep_constants(transform, size):
    weight = torch.full((2, 3, *size), 0.7, dtype=torch.float64)
    found = transform.averaged(weight)
    assert [tuple(w.shape) for w in found] == [(2, 3, *s) for s in transform.sizes(size)]
    for w in found:
        torch.testing.assert_close(w, torch.full_like(w, 0.7))


# --------------------------------------------------------------------------- the config form
@pytest.mark.parametrize(
    ("given", "want"),
    [
        ("haar", WaveletTransform()),
        ("db1", WaveletTransform("db1")),
        (dict(type="haar", levels=2), WaveletTransform(levels=2)),
        (dict(type="db4", levels=2), WaveletTransform("db4", 2)),
        (dict(type="dwt", wavelet="sym4", mode="reflect"), WaveletTransform("sym4", 3, "reflect")),
        (WaveletTransform("db3"), WaveletTransform("db3")),
    ],
)
def test_the_config_form(given, want):
    transform = build_transform(given)
    assert transform == want and hash(transform) == hash(want)
    assert build_transform(transform.to_dict()) == transform
    assert transform != WaveletTransform("db7")


def test_without_pywavelets_the_error_says_how_to_get_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pywt", None)
    assert build_transform("haar") == HAAR
    with pytest.raises(ValueError, match="pip install PyWavelets"):
        build_transform("db2.")


def test_a_taken_name_is_refused():
    with pytest.raises(ValueError, match="transform 'dwt' is taken"):
        TRANSFORMS.register("dwt")(WaveletTransform)


def test_the_old_keys():
    refuse_old(dict(levels=3))
    with pytest.raises(ValueError) as error:
        refuse_old(dict(wavelet="db2", dwt_mode="reflect", other=1), "prompt.")
    for words in ("prompt.wavelet='db2'", "prompt.dwt_mode='reflect'"):
        assert words in str(error.value)
    assert "transform=dict(type='db2', levels=3, mode='reflect')" in str(error.value)


# --------------------------------------------------------------------------- a sibling
class Parts(NamedTuple):
    """The real and the imaginary part of a map's spectrum."""

    re: torch.Tensor
    im: torch.Tensor

    def named(self):
        return iter(self._asdict().items())

    def flat(self):
        return list(self)


class Fourier(Transform):
    """An orthonormal DFT of the whole map: two bands under one prompt, without places."""

    names = ("re", "im")

    def __init__(self, scale=1.0):
        if scale <= 0:
            raise ValueError(f"scale must be above 0, got {scale!r}")
        self.scale = scale

    def to_dict(self):
        return {"type": "fourier", "scale": self.scale}

    def sizes(self, size):
        return [(size[-2], size[-1] // 2 + 1)] * 2

    def analyse(self, x):
        spectrum = torch.fft.rfft2(x, norm="ortho") * self.scale
        return Parts(spectrum.real, spectrum.imag)

    def bands(self, flat):
        return Parts(*flat)

    def synthesise(self, bands, size=None):
        re, im = bands.flat()
        return torch.fft.irfft2(torch.complex(re, im) / self.scale, s=size, norm="ortho")

    def groups(self, granularity="band"):
        return [BandGroup("spectrum", (0, 1), True)]

    def averaged(self, weight):
        return [weight.mean(dim=(2, 3), keepdim=True)] * 2


@pytest.fixture
def fourier():
    TRANSFORMS.register("fourier")(Fourier)
    yield Fourier(2.0)
    del TRANSFORMS.classes["fourier"]


def test_a_sibling_goes_all_the_way(fourier, tmp_path):
    """Stage 1, the file, stage 2; against the loss written out."""
    torch.manual_seed(0)
    spec = PromptSpec.build(4, 2, transform=dict(type="fourier", scale=2.0), gate="position")
    prompts = FrequencyPrompts(spec, init_std=0.5)
    feats = [torch.randn(2, 4, 9, 12), torch.randn(2, 4, 5, 6)]
    outs, masks = prompts(feats)
    assert outs[0].shape == feats[0].shape and masks[0][0].shape == (2, 2, 9, 7)
    (sum(out.square().sum() for out in outs) + prompts.dissimilarity(masks)).backward()
    path = str(tmp_path / "prompts.pth")
    save_prompts(prompts, path)
    assert load_prompts(path).prompts.spec == spec
    loss = FreeKDLoss(4, 4, 2, prompts=path)
    students = [torch.randn_like(feat, requires_grad=True) for feat in feats]
    got = loss(students, feats)
    want = 0
    for s, t, mask in zip(students, feats, masks):
        a, b = (torch.view_as_real(torch.fft.rfft2(x, norm="ortho") * 2) for x in (s, t))
        weight = mask[0].mean(1)[:, None, :, :, None]
        want = want + ((a - b).abs() * weight).mean()
    torch.testing.assert_close(got, want)
    got.backward()
    with pytest.raises(ValueError, match=r"transform.scale must be above 0, got 0"):
        build_transform(dict(type="fourier", scale=0))


def test_a_weight_with_places_in_a_transform_without(fourier):
    weight = torch.rand(2, 1, 9, 12)
    student, teacher = torch.randn(2, 2, 3, 9, 12).unbind()
    got = freekd_loss(student, teacher, None, weight, fourier)
    mean = weight.mean(dim=(2, 3), keepdim=True).expand(2, 3, 1, 1)
    torch.testing.assert_close(got, freekd_loss(student, teacher, None, mean, fourier))


def test_every_ablation_of_the_wavelet_runs():
    feat = torch.randn(1, 4, 9, 12)
    for transform in WAVES:
        groups = len(transform.groups("level"))
        out, _ = masked_reconstruction(feat, torch.zeros(groups, 2, 4), transform, "level")
        torch.testing.assert_close(out, feat)  # sigma(0) = 1/2, twice
        assert F.l1_loss(out, feat) < 1e-5
