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
    "num_prompts": [None, 0, 2.0, True, 10**9],
    "dwt_levels": [None, 0, "3", 10**6],
    "wavelet": [None, 3, [], "haaar"],
    "dwt_mode": [None, 3, "zeros"],
    "granularity": [None, [], "bands"],
    "bands": [None, "LL", {}],
    "gate": [True, "se", []],
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
        kind(**{**MAPS, name: value})
    assert name in str(error.value)


def test_what_is_at_the_edge_is_taken():
    for values in (dict(loss_weight=0), dict(loss_weight=1e299), dict(student_channels=[4, 2, 1])):
        FeatureMSELoss(**{**MAPS, **values})
        FreeKDLoss(**{**MAPS, **values})
    FreeKDLoss(**MAPS, num_prompts=1, dwt_levels=16, gate=None, align=None, prompts=None)


def test_in_the_form_of_mmrazor_too():
    from freekd.config.errors import ConfigError
    from freekd.engine import build

    cfg = tiny.distill([tiny.freekd_loss(loss_weight=-1)])
    with pytest.raises(ConfigError, match="loss_weight must be a finite number of at least 0"):
        build.build_model(Config(dict(algorithm=cfg)), "det")
