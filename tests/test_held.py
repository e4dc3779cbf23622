"""Held modules: seen by nothing that walks, moved with their owner."""

import copy

import pytest
import torch
from torch import nn

from freekd.held import HoldsFrozen, with_held


class Owner(HoldsFrozen):
    def __init__(self):
        super().__init__()
        self.own = nn.Linear(2, 2)
        self.inner = nn.Linear(2, 2)
        self.hold("inner")


def test_nothing_that_walks_meets_it():
    model = nn.Sequential(Owner())
    assert not any("inner" in name for name, _ in model.named_modules())
    assert [name for name, _ in model.named_parameters()] == ["0.own.weight", "0.own.bias"]
    assert list(model.state_dict()) == ["0.own.weight", "0.own.bias"]
    assert model[0].inner is model[0].held()["inner"]
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        model[0].other  # noqa: B018
    assert with_held(model) == [model, model[0].inner]


def test_it_moves_with_its_owner_and_is_copied():
    model = nn.Sequential(Owner()).to(torch.float64)
    assert model[0].inner.weight.dtype is torch.float64
    model.to("meta")
    assert model[0].inner.weight.device.type == "meta"
    one = Owner()
    two = copy.deepcopy(one)
    assert two.inner is not one.inner and torch.equal(two.inner.weight, one.inner.weight)


def test_files_that_carry_it_are_taken_without_it():
    """Checkpoints of version 0.1 carried prompts."""
    owner = Owner()
    before = owner.inner.weight.clone()
    state = dict(owner.state_dict(), **{"inner.weight": torch.zeros(2, 2)})
    owner.load_state_dict(state, strict=True)
    assert torch.equal(owner.inner.weight, before)


def test_another_in_its_place_is_held_too():
    owner, other = Owner(), nn.Linear(3, 3)
    owner.inner = other
    assert owner.inner is other and not any("inner" in name for name in owner.state_dict())
