"""Sequences as maps. Oracle: the place of every token; masks that sum to one change nothing."""

import pytest
import tiny
import torch

from freekd.checks import FeatureError
from freekd.distill.run.taps import as_levels, hook_output, maps_to_output, sequence_to_maps

SIZES = [(3, 4), (2, 2), (1, 1)]


@pytest.mark.parametrize("batch_first", [False, True])
def test_every_token_gets_its_place(batch_first):
    tokens = torch.arange(17.0).reshape(17, 1, 1) + 100 * torch.arange(2.0).reshape(1, 2, 1)
    tokens = tokens.permute(1, 0, 2) if batch_first else tokens
    levels = sequence_to_maps(tokens, SIZES)
    assert [tuple(level.shape) for level in levels] == [(2, 1, 3, 4), (2, 1, 2, 2), (2, 1, 1, 1)]
    # row 1, column 2 of the first level is token 1 * 4 + 2; the second level starts at 3 * 4
    assert levels[0][1, 0, 1, 2] == 106
    assert levels[1][0, 0, 1, 0] == 12 + 2
    assert levels[2][1, 0, 0, 0] == 100 + 16
    assert torch.equal(maps_to_output(levels, tokens), tokens)


@pytest.mark.parametrize("output", [torch.zeros(1, 2, 3, 3), (torch.zeros(1, 2, 3, 3),) * 2])
def test_maps_stay_what_they_are(output):
    levels = as_levels(output, None, "neck")
    again = maps_to_output(levels, output)
    assert type(again) is type(output)
    assert all(a is b for a, b in zip(as_levels(again, None, "neck"), levels))


@pytest.mark.parametrize(
    "output, sizes, words",
    [
        (torch.zeros(17, 2, 8), None, "spatial_shapes"),
        (torch.zeros(16, 2, 8), SIZES, "17 tokens"),
        ({"a": 1}, None, "gives dict"),
    ],
)
def test_what_is_no_map_is_refused(output, sizes, words):
    with pytest.raises(FeatureError, match=words):
        as_levels(output, sizes, "architecture.module")


def test_the_hook_sees_the_sizes_and_replaces():
    class Layer(torch.nn.Module):
        def forward(self, query, spatial_shapes=None):
            return query

    seen, layer = [], Layer()
    handle = hook_output(layer, lambda out, sizes: seen.append(sizes) or out + 1)
    assert layer(torch.zeros(1), spatial_shapes=torch.tensor(SIZES)) == 1
    assert layer(torch.zeros(1)) == 1
    handle.remove()
    assert layer(torch.zeros(1)) == 0
    assert seen == [[list(size) for size in SIZES], None]


def test_prompts_in_the_encoder_of_deformable_detr():
    teacher = tiny.build(
        tiny.prompt_teacher(
            model=tiny.deformable_detr(), module="bbox_head.transformer.encoder",
            channels=256, num_levels=4,
        )
    )  # fmt: skip
    teacher.init_weights()
    encoder = teacher.model.bbox_head.transformer.encoder
    data = tiny.batch()
    with torch.no_grad():
        for prompt in teacher.prompts.prompts:  # two masks of 1/2 each: the identity
            prompt.zero_()
        prompted = teacher.forward_prompted(**data)
        assert [tuple(level[-1].shape[-2:]) for level in teacher.masks] == [(1, 1)] * 4
        with teacher.unprompted():
            bare = teacher.model(return_loss=True, **data)
        torch.testing.assert_close(prompted, bare, rtol=1e-4, atol=1e-5)
        seen = []  # of a hook behind the prompts', so after them
        hook_output(encoder, lambda out, sizes: seen.append((out, sizes)))
        with teacher.unprompted():
            teacher.model(return_loss=True, **data)
        for prompt in teacher.prompts.prompts:
            prompt.normal_()
        teacher.forward_prompted(**data)
        (before, sizes), (after, _) = seen
        expected, _ = teacher.prompts(as_levels(before, sizes, "encoder"))
    assert not torch.allclose(after, before, atol=1e-2)
    torch.testing.assert_close(after, maps_to_output(expected, before))
