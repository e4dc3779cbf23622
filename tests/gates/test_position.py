"""The position-aware gate: its equation, its start, its bounds."""

import pytest
import torch

from freekd.gates.position import PositionGate, channel_relation


def pyramid(channels=6, dtype=torch.float32, seed=0):
    gen = torch.Generator().manual_seed(seed)
    return [
        torch.randn(2, channels, *size, generator=gen, dtype=dtype)
        for size in ((8, 12), (4, 6), (2, 3))
    ]


def test_relation_by_definition():
    feat, context = pyramid()[0], pyramid(seed=1)[0]
    got = channel_relation(feat, context)
    for n in range(2):
        scores = torch.empty(6, 6)
        for i in range(6):
            for j in range(6):
                scores[i, j] = (context[n, i] * feat[n, j]).sum() / (8 * 12) ** 0.5
        torch.testing.assert_close(got[n], torch.softmax(scores, dim=1), rtol=1e-4, atol=1e-6)


def test_relation_rows_sum_to_one_and_do_not_saturate_on_large_maps():
    feat = torch.randn(1, 16, 100, 168, generator=torch.Generator().manual_seed(0))
    relation = channel_relation(feat, torch.randn(1, 16, 50, 84))
    torch.testing.assert_close(relation.sum(dim=-1), torch.ones(1, 16))
    # independent channels: unscaled scores would have a spread of sqrt(16800) = 130
    assert float(relation.max()) < 0.9


def test_starts_at_one_and_stays_within_zero_and_two():
    gate = PositionGate([6] * 3)
    for weight in gate(pyramid()):
        assert torch.equal(weight, torch.ones(2, 6, 1, 1))
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter, std=5.0)
    for weight in gate(pyramid()):
        assert 0 <= float(weight.detach().min()) and float(weight.detach().max()) <= 2


def test_each_level_looks_at_the_next_and_the_last_at_itself():
    torch.manual_seed(0)
    gate = PositionGate([6] * 3)
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    before = gate(pyramid())
    changed = pyramid()
    changed[1] = changed[1] * 3
    after = gate(changed)
    assert not torch.allclose(before[0], after[0])  # its context
    assert not torch.allclose(before[1], after[1])  # itself
    assert torch.equal(before[2], after[2])


def test_wrong_pyramids_are_refused():
    gate = PositionGate([6] * 3)
    with pytest.raises(ValueError, match="3 levels, got 2"):
        gate(pyramid()[:2])
    with pytest.raises(ValueError, match="made for 6 channels, level 0 has 4"):
        gate(pyramid(channels=4))
    with pytest.raises(ValueError, match="gate=None"):
        channel_relation(torch.zeros(1, 4, 2, 2), torch.zeros(1, 6, 2, 2))
