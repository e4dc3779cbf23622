"""Prefixes come off names and layout versions alike: a wrapped model loads into the bare one."""

from collections import OrderedDict

import torch
from torch import nn

from freekd.state_dict import has_prefix, state_dict_of, strip_module, strip_prefix


def test_module_of_a_parallel_wrapper():
    bare = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    wrapped = nn.ModuleDict({"module": bare}).state_dict()
    assert has_prefix(wrapped, "module.") and not has_prefix(bare.state_dict(), "module.")
    for state in (wrapped, bare.state_dict()):
        found = strip_module(state)
        assert list(found) == list(bare.state_dict())
        assert found._metadata == bare.state_dict()._metadata
        assert bare.load_state_dict(found).missing_keys == []


def test_others_are_left_out_or_kept():
    state = OrderedDict([("a.b.x", 1), ("ab.x", 2), ("c", 3)])
    assert strip_prefix(state, "a.") == {"b.x": 1}
    assert strip_prefix(state, "a.", keep_others=True) == {"b.x": 1, "ab.x": 2, "c": 3}
    assert not hasattr(strip_prefix(state, "a."), "_metadata")
    assert list(state) == ["a.b.x", "ab.x", "c"]  # untouched


def test_weights_of_any_file():
    weights = {"a": torch.zeros(1)}
    assert state_dict_of(weights) == state_dict_of({"meta": {}, "state_dict": weights}) == weights
    assert state_dict_of([1]) == state_dict_of({"state_dict": None}) == {}
