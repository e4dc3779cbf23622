"""Branches from stages to logits. Oracles: torch's own layers, by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from freekd.checks import FeatureError
from freekd.losses.branches import (
    MapBranch,
    Merge,
    SeparableBlock,
    TokenBlock,
    TokenBranch,
    branch,
    stage_output,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_a_block_is_torch_s_encoder_layer():
    """With a bias of 0 in the projections to queries, keys and values."""
    block = TokenBlock(8).double()
    theirs = nn.TransformerEncoderLayer(8, 4, 32, 0.0, F.gelu, batch_first=True, norm_first=True)
    theirs = theirs.double()
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(block.qkv.weight)
        theirs.self_attn.in_proj_bias.zero_()
    pairs = ((theirs.self_attn.out_proj, block.attn_out), (theirs.linear1, block.mlp_in),
             (theirs.linear2, block.mlp_out), (theirs.norm1, block.norm1))  # fmt: skip
    for there, here in (*pairs, (theirs.norm2, block.norm2)):
        there.load_state_dict(here.state_dict())
    x = torch.randn(2, 10, 8, dtype=torch.float64)
    torch.testing.assert_close(block(x), theirs(x))
    torch.testing.assert_close(block(x, 1), theirs(x)[:, :1])  # fewer are asked, the same come


def test_order_of_merged_neighbours():
    """Tokens 0 to 15 in 4 rows: the first group is 0 (even, even), 4 (odd row), 1 (odd column)."""
    merge = Merge(1, 4, active=False).double()
    merge.norm, merge.reduce = nn.Identity(), nn.Identity()
    tokens = torch.arange(16, dtype=torch.float64).view(1, 16, 1)
    assert merge(tokens, 4)[0].int().tolist() == [
        [0, 4, 1, 5], [2, 6, 3, 7], [8, 12, 9, 13], [10, 14, 11, 15],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("length", "extra", "active"),
    [
        (3136, 0, [True, True, False]), (784, 0, [True, False]), (196, 0, [True]), (49, 0, []),
        (1024, 0, [True, False]), (256, 0, [True]), (197, 1, [True]), (50, 1, []),
    ],
)  # fmt: skip
def test_how_often_a_grid_is_merged(length, extra, active):
    """By 2x2 while 7 a side or more are left; a GELU after all steps but the last of several."""
    made = TokenBranch(length, 8, 2, 8, 5, "k")
    assert made.extra == extra and [merge.active for merge in made.merges] == active
    assert made(torch.randn(2, length, 8)).shape == (2, 5)


@pytest.mark.parametrize(("stage", "blocks"), [(1, 3), (2, 2), (3, 1), (4, 1)])
def test_how_many_blocks(stage, blocks):
    assert len(TokenBranch(49, 8, stage, 8, 5, "k").blocks) == blocks
    assert len(MapBranch(4, stage, 8, 5).blocks) == (4 - stage)


def test_the_class_token_is_what_is_read():
    """And it sees the others, in the attention alone."""
    made = TokenBranch(50, 8, 4, 8, 5, "k").double()
    x = torch.randn(1, 50, 8, dtype=torch.float64)
    expected = made.head(made.blocks[0](x)[:, 0])
    torch.testing.assert_close(made(x), expected)
    moved = x[:, [0, *range(49, 0, -1)]]
    torch.testing.assert_close(made(moved), expected)


def test_without_one_it_is_the_mean():
    made = TokenBranch(49, 8, 4, 8, 5, "k").double()
    x = torch.randn(1, 49, 8, dtype=torch.float64)
    torch.testing.assert_close(made(x), made.head(made.blocks[0](x).mean(1)))


def test_maps():
    """Widths double up to the last; odd sizes are halved upwards; K logits come out."""
    made = MapBranch(4, 1, 50, 5)
    widths = [(block.pw1.in_channels, block.pw2.out_channels) for block in made.blocks]
    assert widths == [(4, 8), (8, 16), (16, 50)]
    assert made.blocks[0](torch.randn(2, 4, 7, 10)).shape == (2, 8, 4, 5)
    assert made(torch.randn(2, 4, 7, 10)).shape == (2, 5)


def test_the_last_stage_is_a_convolution_and_the_mean():
    made = MapBranch(4, 4, 8, 5).double()
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(made(x), made.head(made.pointwise(x).mean((2, 3))))


def test_first_weights():
    """std sqrt(2 / (9 * 400)) of a depthwise, sqrt(2 / 600) of a 1x1 convolution; linear 0.02."""
    block = MapBranch(400, 3, 600, 200)
    first: SeparableBlock = block.blocks[0]
    assert first.dw1.weight.std().item() == pytest.approx((2 / 3600) ** 0.5, rel=0.05)
    assert first.pw2.weight.std().item() == pytest.approx((2 / 600) ** 0.5, rel=0.02)
    assert block.head.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert block.head.weight.abs().max().item() > 3 * 0.02  # not cut at two deviations
    assert not block.head.bias.any()
    tokens = TokenBranch(49, 64, 4, 64, 5, "k")
    assert tokens.blocks[0].qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not tokens.blocks[0].mlp_in.bias.any()


@pytest.mark.parametrize(
    ("length", "width", "dim", "said"),
    [
        (48, 8, 8, r"k: 48 tokens are no square grid"),
        (198, 8, 8, r"k: 198 tokens are no square grid, .*distillation token"),
        (225, 8, 8, r"k: a grid of 15x15 tokens cannot be merged 1 times .* divisible by 2"),
        (197, 4, 8, r"k: the tokens have 4 channels, student_dim=8"),
        (49, 4, 8, r"k: the tokens have 4 channels, student_dim=8"),
        (196, 4, 6, r"k: student_dim=6 is not divisible by 4"),
    ],
)
def test_tokens_that_have_no_branch(length, width, dim, said):
    with pytest.raises(FeatureError, match=said):
        TokenBranch(length, width, 3, dim, 5, "k")


def test_outputs_are_checked():
    maps, tokens = branch((4, 8, 8), 3, 8, 8, 5, "k"), branch((49, 8), 4, 8, 8, 5, "k")
    with pytest.raises(FeatureError, match=r"x\.stage3=4: expected maps .*, got \(2, 49, 8\)"):
        maps.check((2, 49, 8), "x.stage3")
    with pytest.raises(FeatureError, match=r"x\.stage4=\(49, 8\): .* got \(2, 64, 8\)\. .*images"):
        tokens.check((2, 64, 8), "x.stage4")


def test_what_a_stage_gives():
    feat = torch.zeros(1, 49, 8)
    assert stage_output((feat, (7, 7)), "k") is feat
    with pytest.raises(FeatureError, match=r"k: expected a map .* got \(1, 8\)"):
        stage_output(torch.zeros(1, 8), "k")
