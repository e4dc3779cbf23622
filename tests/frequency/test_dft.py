"""The Fourier transform against numpy's: which frequency is in which band, and its energy."""

import numpy as np
import pytest
import torch

from freekd.frequency import FourierTransform


def random_map(size, seed=0):
    return np.random.default_rng(seed).standard_normal((2, 3, *size))


def level_of(frequency):
    """1 to 3 for the level whose high part has it, 4 for what LL3 has."""
    return next((j for j in (1, 2, 3) if frequency >= 1 / 2 ** (j + 1)), 4)


@pytest.mark.parametrize("size", [(16, 24), (13, 22), (25, 9), (2, 3), (1, 1)])
def test_each_frequency_is_in_its_band(size):
    """By numpy's own frequencies: the values of a band, as a set, real and imaginary part."""
    x = random_map(size)[0, 0]
    spectrum = np.fft.rfft2(x, norm="ortho")
    width = size[1]
    mirrored = [0 < c < (width + 1) // 2 for c in range(spectrum.shape[1])]
    spectrum = spectrum * np.where(mirrored, np.sqrt(2), 1.0)
    rows, columns = np.abs(np.fft.fftfreq(size[0])), np.fft.rfftfreq(width)
    want = {}
    for y, row in enumerate(rows):
        for c, column in enumerate(columns):
            high, wide = level_of(row), level_of(column)
            level = min(high, wide)
            kind = {True: "HH", False: "LH" if high < wide else "HL"}[high == wide]
            name = "LL3" if level == 4 else f"{kind}{level}"
            want.setdefault(name, []).append(spectrum[y, c])
    found = dict(FourierTransform().analyse(torch.from_numpy(x)).named())
    for name in ("LL3", *(f"{kind}{j}" for j in (1, 2, 3) for kind in ("LH", "HL", "HH"))):
        got = torch.complex(found[f"{name}_re"], found[f"{name}_im"]).flatten().numpy()
        values = np.array(want.get(name, []), dtype=complex)
        padding = np.zeros(got.size - values.size, dtype=complex)
        close = np.isclose(got[:, None], np.append(values, padding)[None], rtol=1e-9, atol=1e-12)
        assert close.any(0).all() and close.any(1).all(), name


def test_the_distance_of_squares_is_that_of_the_maps():
    """Orthonormal: sum |xi(s) - xi(t)|^2 = sum |s - t|^2, whatever the width."""
    for size in ((8, 8), (7, 9), (5, 1), (1, 6)):
        s, t = (torch.from_numpy(random_map(size, seed)) for seed in (0, 1))
        found = sum(d.square().sum() for d in FourierTransform().difference(s, t))
        torch.testing.assert_close(found, (s - t).square().sum())


def test_a_prompt_sees_the_sum_of_both_parts():
    transform = FourierTransform(1)
    bands = transform.analyse(torch.from_numpy(random_map((8, 12))))
    for position, name in enumerate(("LL1", "LH1", "HL1", "HH1")):
        found = dict(bands.named())
        got = transform.prompted(bands)[position]
        assert torch.equal(got, found[f"{name}_re"] + found[f"{name}_im"])


def test_a_reflected_map_has_reflected_bands():
    """Either sign of a row's frequency is in the same band: upside down, the energies stay."""
    x = torch.from_numpy(random_map((16, 24)))
    first, second = (FourierTransform().analyse(m).flat() for m in (x, x.flip(-2)))
    for k in range(10):
        energies = [bands[k].square() + bands[k + 10].square() for bands in (first, second)]
        torch.testing.assert_close(energies[0].sum(), energies[1].sum())


def test_sizes_by_hand():
    """H = 16: rows -7..8, -3..3 are low at level 1, -1..1 at level 2, 0 at level 3."""
    transform = FourierTransform(3)
    sizes = dict(zip(transform.names, transform.sizes((16, 16))))
    assert sizes["LL3_re"] == sizes["LL3_im"] == (1, 1)
    assert sizes["LH1_re"] == sizes["HH1_im"] == (9, 5)  # 16 - 7 rows; 0..8 without 0..3
    assert sizes["LH2_re"] == (4, 2) and sizes["LH3_re"] == (2, 1)
