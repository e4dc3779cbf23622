"""The attention projector. Oracles: torch's own attention layer, reference numbers, by hand."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from freekd.checks import FeatureError
from freekd.losses.projector import AttentionProjector, scales_of, upsampling

FOLDER = Path(os.environ.get("FREEKD_GOLDEN") or Path(__file__).parents[1] / "golden")
FILES = [path for path in sorted(FOLDER.glob("ufdkd_*.npz"))
         if "seg" not in path.stem and "terms" not in path.stem]  # fmt: skip
SMALL = dict(student_dims=6, teacher_dims=8, query_hw=(2, 3), pos_hw=(4, 5), num_heads=2)


def made(**options):
    torch.manual_seed(0)
    return AttentionProjector(**{**SMALL, **options}).double()


def student(*shape):
    return torch.randn(*(shape or (3, 6, 4, 5)), dtype=torch.float64)


@pytest.mark.golden
@pytest.mark.parametrize("split", ["spatial", "channel"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_reference_tokens(path, split):
    with np.load(path) as file:
        arrays = {name: torch.from_numpy(np.array(file[name])) for name in file.files}
    given = [arrays[f"hp__{name}"].tolist() for name in
             ("student_dims", "teacher_dims", "query_hw", "position_hw", "num_heads")]  # fmt: skip
    projector = AttentionProjector(
        *given, arrays["hp__softmax_scale"][0].item(), arrays["hp__upsample"].item()
    )
    start, state = f"param__{split}_", projector.state_dict()
    for name in state:
        if "num_batches" not in name:
            key = start + name.replace("student_norm", "student_bn").replace(".", "_")
            state[name] = arrays[key].view_as(state[name])
    projector.load_state_dict(state)
    out = projector.double()(arrays["in__student"])
    expected = arrays[f"mid64__projected_{split}"]
    assert (out - expected).abs().max() <= 1e-8 * expected.abs().max()


@pytest.mark.parametrize("external", [False, True])
def test_attention_is_torch_s(external):
    """With tau in the queries' projection, it is nn.MultiheadAttention with other key channels."""
    projector = made(softmax_scale=3.0)
    theirs = nn.MultiheadAttention(8, 2, kdim=6, vdim=6, batch_first=True).double()
    layers = projector.attn_query, projector.attn_key, projector.attn_value
    with torch.no_grad():
        for name, layer, factor in zip("qkv", layers, (3.0, 1.0, 1.0)):
            getattr(theirs, f"{name}_proj_weight").copy_(factor * layer.weight)
        biases = [factor * layer.bias for layer, factor in zip(layers, (3.0, 1.0, 1.0))]
        theirs.in_proj_bias.copy_(torch.cat(biases))
        theirs.out_proj.load_state_dict(projector.attn_out.state_dict())
    x, asked = student(), torch.randn(3, 6, 8, dtype=torch.float64) if external else None
    tokens = projector.student_tokens(x)
    table = projector.query_table.weight.expand(3, -1, -1) if asked is None else asked
    q = projector.query_conv(table.transpose(1, 2)[..., None]).relu()[..., 0].transpose(1, 2)
    o, _ = theirs(q, tokens, tokens)
    y = F.layer_norm(o, (8,), projector.out_norm.weight, projector.out_norm.bias, 1e-5)
    expected = y + projector.ffn_out(projector.ffn_in(y).relu())
    torch.testing.assert_close(projector(x, asked), expected)
    assert projector(x, asked).shape == (3, 6, 8)


def test_order_of_the_student_s_tokens():
    """Row by row: all but the position map is 0, and that counts the places."""
    projector = made(pos_hw=(2, 3))
    nn.init.zeros_(projector.student_conv.weight)
    nn.init.zeros_(projector.student_conv.bias)
    with torch.no_grad():
        projector.position.copy_(torch.arange(6.0).view(1, 1, 2, 3).expand(1, 6, 2, 3))
    tokens = projector.student_tokens(student(1, 6, 2, 3))
    assert tokens[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_upsampled_by_two():
    """1 x 2 pixels (0, 4) become 0, 1, 3, 4: half-pixel centres, the ends repeated."""
    projector = made(pos_hw=(2, 4), upsample=None)
    projector.student_conv = nn.Identity()
    projector.student_norm = nn.Identity()
    nn.init.zeros_(projector.position)
    x = torch.tensor([0.0, 4.0], dtype=torch.float64).view(1, 1, 1, 2).expand(1, 6, 1, 2)
    assert projector.student_tokens(x)[0, :, 0].tolist() == [0, 1, 3, 4] * 2


def test_layer_norm_is_over_channels():
    """Each place has mean 0 and variance 1 over its channels, whatever the others are."""
    projector = made(norm="layer")
    out = projector.student_norm(student())
    torch.testing.assert_close(out.mean(1), torch.zeros(3, 4, 5, dtype=torch.float64))
    torch.testing.assert_close(out.var(1, unbiased=False), torch.ones_like(out[:, 0]), atol=1e-3,
                               rtol=0)  # fmt: skip
    other = student()
    other[0] = 5.0
    x = other.clone()
    x[1:] += 1.0
    with_others = [projector.eval()(each)[0] for each in (other, x)]
    torch.testing.assert_close(*with_others)


def test_the_key_s_bias_counts_for_nothing():
    """A softmax is blind to what all its tokens share."""
    projector, x = made(), student()
    before = projector(x)
    nn.init.constant_(projector.attn_key.bias, 0.7)
    torch.testing.assert_close(projector(x), before)


def test_first_weights():
    projector = AttentionProjector(8, 64, (20, 20), (30, 40), 4)
    assert abs(projector.position.std().item() / 0.02 - 1) < 0.05
    assert abs(projector.query_table.weight.std().item() - 1) < 0.02
    bound = 64**-0.5  # torch's default of a linear layer: uniform within 1 / sqrt(inputs)
    assert 0.99 * bound < projector.query_conv.weight.abs().max().item() <= bound


def test_without_a_table():
    projector = made(learned_query=False)
    assert not any("query_table" in name for name, _ in projector.named_parameters())
    assert projector(student(), torch.zeros(3, 6, 8)).shape == (3, 6, 8)
    with pytest.raises(FeatureError, match="learned_query=False"):
        projector(student())


def test_a_gradient_reaches_the_queries_and_all_parameters():
    projector, query = made(), torch.randn(3, 6, 8, dtype=torch.float64, requires_grad=True)
    projector(student(), query).square().sum().backward()
    without = {name for name, p in projector.named_parameters() if p.grad is None}
    assert query.grad.abs().sum() > 0 and without == {"query_table.weight"}


def test_low_precision_is_widened():
    projector = made().float().eval()
    x = student().to(torch.bfloat16)
    assert torch.equal(projector(x), projector(x.float()))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(num_heads=3), r"s4\.num_heads=3: the teacher's 8 channels .* such as 1, 2, 4"),
        (dict(num_heads=0), r"s4\.num_heads must be an integer from 1"),
        (dict(query_hw=7), r"s4\.query_hw must be \(height, width\), such as \(7, 7\), got 7"),
        (dict(pos_hw=(7, 0)), r"s4\.pos_hw must be an integer from 1"),
        (dict(softmax_scale=0), r"s4\.softmax_scale must be a number of at least 0\.001"),
        (dict(upsample=3), r"s4\.upsample=3 is not known; expected one of None, 1, 2"),
        (dict(norm="group"), r"s4\.norm='group' is not known"),
        (dict(learned_query=1), r"s4\.learned_query must be True or False"),
    ],
)
def test_bad_options(options, said):
    with pytest.raises(ValueError, match=said):
        made(key="s4.", **options)


def test_bad_sizes():
    projector = made(key="s4.")
    with pytest.raises(
        FeatureError,
        match=r"s4\.pos_hw=\(4, 5\), but .* is \(7, 7\), and "
        r"s4\.upsample=1: .* Set s4\.pos_hw to \(7, 7\), or to \(14, 14\) with",
    ):
        projector(student(3, 6, 7, 7))  # fmt: skip
    with pytest.raises(FeatureError, match=r"s4\.student_dims=6: expected .*, got \(3, 5, 4, 5\)"):
        projector(student(3, 5, 4, 5))
    with pytest.raises(FeatureError, match=r"s4\.query_hw=\(2, 3\): expected queries \(N, 6, 8\)"):
        projector(student(), torch.zeros(3, 5, 8))
    with pytest.raises(FeatureError, match=r"upsample=2: enlarged"):
        upsampling("", (7, 7), (7, 7), 2)


def test_scales():
    assert scales_of([5, 2.5], "x") == (5.0, 2.5)
    with pytest.raises(ValueError, match=r"x must be a number, or one for each of 2 projectors"):
        scales_of([1, 2, 3], "x")
