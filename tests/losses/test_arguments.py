"""What the losses' constructors refuse: each value of another kind names its key."""

import math

import pytest
import tiny
from mmcv import Config

from freekd import FeatureMSELoss, FreeKDLoss

MAPS = dict(student_channels=8, teacher_channels=8, num_levels=3)
COMMON = {
    "student_channels": [None, 0, True, "8", 8.0, [8, 8, "8"], {8: 8}, 10**6],
    "teacher_channels": [None, -8, [8, True, 8]],
    "num_levels": [None, 0, 1.0, True, "3", 10**9],
    "loss_weight": [None, -1, -0.001, True, "1", [1], math.nan, math.inf, 10**400],
    "align": ["conv", 1, True, []],
}
OWN = {
    "num_prompts": [0, 2.0, True, 10**9],
    "transform": [3, [], {}, "", "haaar", dict(levels=3), dict(type=3), {"type": "haar", 3: 1}],
    "transform.levels": [
        dict(type="haar", levels=value) for value in (None, 0, True, "3", 10**6, 10**400)
    ],
    "transform.mode": [dict(type="haar", mode=value) for value in (None, 3, "zeros", [])],
    "transform.type": [dict(type="db2x"), dict(type="dwt2"), "no such"],
    "transform.wavelet": [dict(type="dwt", wavelet=value) for value in (None, 3, [], "haaar")],
    "granularity": [[], "bands"],
    "bands": [None, "LL", {}],
    "gate": [True, "positions", [], {}, dict(reduction=4), dict(type="position", reductions=4)],
    "normalize": [True, "batch"],
    "distance": [None, 2, "L1"],
    "prompts": [3, True, "", ["a.pth"]],
}


@pytest.mark.parametrize(
    "kind, name, value",
    [
        (kind, name, value)
        for kind, table in ((FreeKDLoss, {**COMMON, **OWN}), (FeatureMSELoss, COMMON))
        for name, values in table.items()
        for value in values
    ],
    ids=lambda value: str(getattr(value, "__name__", value))[:20],
)
def test_a_value_of_another_kind_names_its_key(kind, name, value):
    with pytest.raises(ValueError) as error:
        kind(**{**MAPS, name.split(".")[0]: value})
    assert name in str(error.value)


def test_what_is_at_the_edge_is_taken():
    for values in (dict(loss_weight=0), dict(loss_weight=1e299), dict(student_channels=[4, 2, 1])):
        FeatureMSELoss(**{**MAPS, **values})
        FreeKDLoss(**{**MAPS, **values})
    FreeKDLoss(**MAPS, num_prompts=1, transform=dict(type="haar", levels=16), gate=None)
    FreeKDLoss(**MAPS, num_prompts=None, transform="db38", granularity=None, prompts=None)
    FreeKDLoss(**MAPS, transform=dict(type="dwt", wavelet="bior1.3"), gate="position")


def test_the_nearest_names_and_the_options_are_named():
    for value, words in (
        ("db44", ["transform.type='db44'", "nearest: 'db4'", "'dwt'", "PyWavelets"]),
        (dict(type="haar", level=2), ["no option 'level'", "['levels', 'mode']", "'levels'?"]),
        (dict(type="db2", wavelet="db4"), ["no option 'wavelet'"]),
    ):
        with pytest.raises(ValueError) as error:
            FreeKDLoss(**MAPS, transform=value)
        for word in words:
            assert word in str(error.value)
    with pytest.raises(ValueError, match=r"gate.type='positoin' .*nearest: 'position'"):
        FreeKDLoss(**MAPS, gate="positoin")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (dict(wavelet="db2", dwt_levels=2), "transform=dict(type='db2', levels=2, mode='zero')"),
        (dict(dwt_mode="reflect"), "transform=dict(type='haar', levels=3, mode='reflect')"),
        (dict(wavelet=3), "transform=dict(type=3, levels=3, mode='zero')"),
    ],
)
def test_version_01_s_keys_are_refused_with_the_new_spelling(old, new):
    with pytest.raises(ValueError) as error:
        FreeKDLoss(**MAPS, **old)
    assert new in str(error.value) and all(
        f"{name}={old[name]!r}" in str(error.value) for name in old
    )


def test_in_the_form_of_mmrazor_too():
    from freekd import compat
    from freekd.config.errors import ConfigError
    from freekd.engine import build

    compat.apply()
    import freekd.distill  # noqa: F401  (registers the algorithm)

    cfg = tiny.distill([tiny.freekd_loss(loss_weight=-1)])
    with pytest.raises(ConfigError, match="loss_weight must be a finite number of at least 0"):
        build.build_model(Config(dict(algorithm=cfg)), "det")
