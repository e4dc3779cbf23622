"""UFD-KD. Oracles: properties of the terms, by hand; the reference's numbers: test_golden.py."""

from types import SimpleNamespace

import pytest
import torch

from freekd.checks import FeatureError
from freekd.losses.tokens import as_tokens
from freekd.losses.ufdkd import ALPHA, Terms, UFDKDLoss, ufdkd_loss

ONE = (1.0, 1.0, 1.0, 1.0)
SMALL = dict(student_dims=6, teacher_dims=8, num_heads=2)


@pytest.fixture
def tokens():
    torch.manual_seed(0)
    return [torch.randn(2, 40, 6, dtype=torch.float64) for _ in range(3)]


def attention(**options):
    torch.manual_seed(0)
    return UFDKDLoss(**{**SMALL, **dict(query_hw=(5, 8), pos_hw=(5, 8)), **options})


def maps(student=(2, 6, 5, 8), teacher=(2, 8, 5, 8), **options):
    torch.manual_seed(1)
    return torch.randn(student, **options), torch.randn(teacher, **options)


# --------------------------------------------------------------------------- the terms
def test_positive_factors_count_for_nothing(tokens):
    spatial, channel, teacher = tokens
    found = ufdkd_loss(3 * spatial, 0.2 * channel, 7 * teacher, ONE)
    torch.testing.assert_close(found, ufdkd_loss(*tokens, ONE))


def test_the_teacher_s_own_tokens_give_nothing(tokens):
    found = ufdkd_loss(tokens[0], tokens[0], tokens[0], ONE)
    assert [float(term) for term in found] == [0] * 5


def test_the_largest_terms(tokens):
    """Unit vectors are at most 2 apart: the teacher's tokens turned round are. N divides out."""
    found = ufdkd_loss(-tokens[0], -tokens[0], tokens[0], (1, 2, 3, 4))
    expected = 4 * 40, 2 * 4 * 40, 3 * 4 * 6, 4 * 4 * 6
    assert [float(term) for term in found[1:]] == pytest.approx(expected)
    assert float(ufdkd_loss(*tokens, ONE).dc_spat) <= 4 * 40


@pytest.mark.parametrize(
    ("split", "axis", "changed"), [(0, 1, "dc_spat"), (1, 2, "dc_channel")], ids=str
)
def test_a_constant_changes_its_zero_frequency_alone(tokens, split, axis, changed):
    """One for each image and channel in P, one for each image and place in R."""
    before, shape = ufdkd_loss(*tokens, ONE), [2, 40, 6]
    shape[axis] = 1
    moved = list(tokens)
    moved[split] = tokens[split] + torch.randn(shape, dtype=torch.float64)
    after = ufdkd_loss(*moved, ONE)
    for name in Terms._fields[1:]:
        same = abs(float(getattr(after, name) - getattr(before, name))) < 1e-12
        assert same == (name != changed), name


def test_order_of_places_and_channels_counts_for_nothing(tokens):
    """If it is the same in all of them: nothing is local but the projectors."""
    places, channels = torch.randperm(40), torch.randperm(6)
    moved = [x[:, places][:, :, channels] for x in tokens]
    torch.testing.assert_close(ufdkd_loss(*moved, ONE), ufdkd_loss(*tokens, ONE))


# --------------------------------------------------------------------------- the module
def test_it_is_the_sum_of_its_parts():
    """A 5 x 8 map works; the parts are of the last step, with all weights, and detached."""
    loss, (student, teacher) = attention(loss_weight=0.5), maps()
    value = loss((student,), (teacher,))
    terms = ufdkd_loss(*loss.projected(student), as_tokens(teacher), ALPHA["attention"])
    torch.testing.assert_close(value, 0.5 * terms.total)
    assert [*loss.parts] == ["dc_spat", "ac_spat", "dc_channel", "ac_channel"]
    assert sum(map(float, loss.parts.values())) == pytest.approx(float(value.detach()))
    assert not any(part.requires_grad for part in loss.parts.values())


@pytest.mark.parametrize("projector", ["attention", "plain", "enhanced"])
def test_every_parameter_learns_and_the_teacher_does_not(projector):
    grids = dict(query_hw=(5, 8), pos_hw=(5, 8)) if projector == "attention" else {}
    loss = UFDKDLoss(**SMALL, projector=projector, **grids)
    student, teacher = maps()
    loss((student.requires_grad_(),), (teacher.requires_grad_(),)).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0
    assert not [name for name, p in loss.named_parameters() if p.grad is None]


def test_vit_like_outputs_and_chosen_stages():
    loss = attention(student_index=1)
    student, teacher = maps()
    expected = loss((student, student), (teacher,))
    given = ([student * 0, None], [student, torch.zeros(2, 6)], [student * 0, None])
    torch.testing.assert_close(loss(given, ([teacher, torch.zeros(2, 8)],)), expected)


def test_tokens_of_a_layer_are_its_map():
    """Of a teacher's inner layer, class token before them; 16 channels could be a grid, too."""
    loss = attention(teacher_dims=16, query_hw=(4, 4))
    student, teacher = maps(teacher=(2, 16, 4, 4))
    tokens = torch.cat([torch.zeros(2, 1, 16), as_tokens(teacher)], 1)
    torch.testing.assert_close(loss(student, tokens), loss(student, teacher))
    looks = [SimpleNamespace(size=(64, 64), outputs=lambda x=x: x) for x in (student, tokens)]
    told = UFDKDLoss.tell({}, *looks, "key")
    assert (told["teacher_dims"], told["query_hw"]) == (16, (4, 4))


def test_upsample_is_told_by_the_position_map():
    given = maps(student=(2, 6, 2, 4), teacher=(2, 8, 5, 8))
    outcomes = [attention(pos_hw=(4, 8), upsample=u)(*given) for u in (None, 2)]
    assert torch.equal(*outcomes)


def test_teacher_pool_is_the_mean_of_blocks():
    student, teacher = maps(teacher=(2, 8, 10, 16))
    pooled = teacher.unflatten(2, (5, 2)).unflatten(4, (8, 2)).mean((3, 5))
    found = attention(teacher_pool=(5, 8))(student, teacher)
    torch.testing.assert_close(found, attention()(student, pooled))


def test_equal_widths_need_no_alignment():
    loss = UFDKDLoss(8, 8, projector="plain")
    assert loss.align is None
    assert loss(*maps(student=(2, 8, 5, 8))).isfinite()


def test_the_release_s_reading_differs_in_the_channel_split_alone():
    """Its memory (C, H, W) as (HW, C): where C = 1 there is nothing to mix up."""
    torch.manual_seed(0)
    ours, theirs = (UFDKDLoss(6, 8, "plain", legacy_reshape=legacy) for legacy in (False, True))
    theirs.load_state_dict(ours.state_dict())
    for loss in (ours, theirs):
        loss(*maps())
    same = [name for name in ours.parts if torch.equal(ours.parts[name], theirs.parts[name])]
    assert same == ["dc_spat", "ac_spat"]
    _, channel = theirs.projected(maps()[0])
    flat = ours.channel(ours.align(maps()[0])).flatten(1)
    assert torch.equal(channel[1, 7, 3], flat[1, 7 * 8 + 3])


def test_low_precision_is_widened():
    loss = attention().eval()
    student, teacher = (x.bfloat16() for x in maps())
    found = loss(student, teacher)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(student.float(), teacher.float()))


def test_float64():
    loss = attention().double()
    assert loss(*maps(dtype=torch.float64)).dtype == torch.float64


# --------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(num_heads=3), r"ufdkd\.num_heads=3: the teacher's 8 channels .* such as 1, 2, 4"),
        (dict(query_hw=None), r"ufdkd\.query_hw is missing: the height and width of the teacher's"),
        (dict(pos_hw=None), r"ufdkd\.pos_hw is missing: the height and width of the student's"),
        (dict(projector="conv"), r"ufdkd\.projector='conv' is not known; expected one of 'attent"),
        (dict(alpha=(1, 2, 3)), r"ufdkd\.alpha must be four weights"),
        (dict(alpha=(1, 2, 3, -1)), r"ufdkd\.alpha must be a finite number of at least 0, got -1"),
        (dict(teacher_pool=7), r"ufdkd\.teacher_pool must be \(height, width\)"),
        (dict(softmax_scale=(5, 5, 5)), r"ufdkd\.softmax_scale must be a number, or one for each"),
        (dict(upsample=3), r"ufdkd\.upsample=3 is not known"),
        (dict(legacy_reshape=True), r"ufdkd\.legacy_reshape=True is not for projector='attention'"),
        (dict(student_index="last"), r"ufdkd\.student_index must be an integer"),
    ],
)
def test_bad_options(options, said):
    with pytest.raises(ValueError, match=said):
        attention(**options)


def test_options_of_the_attention_beside_convolutions():
    said = r"pair\.losses\.ufdkd\.num_heads=24 is not for projector='plain'\. Remove it, or .*atten"
    with pytest.raises(ValueError, match=said):
        UFDKDLoss.check_options(dict(projector="plain", num_heads=24), "pair.losses.ufdkd")


@pytest.mark.parametrize(
    ("options", "shapes", "said"),
    [
        ({}, dict(teacher=(1, 8, 7, 7)), r"ufdkd\.query_hw=\(5, 8\): the teacher's map is \(7, 7\)"
         r"\. Set ufdkd\.query_hw=\(7, 7\), pool the map by ufdkd\.teacher_pool=\(5, 8\)"),
        ({}, dict(student=(1, 6, 7, 7)), r"ufdkd\.pos_hw=\(5, 8\), but the student's map is "
         r"\(7, 7\).*Set ufdkd\.pos_hw to \(7, 7\), or to \(14, 14\) with ufdkd\.upsample=2"),
        ({}, dict(student=(1, 7, 5, 8)), r"ufdkd\.student_dims=6: .* \(1, 7, 5, 8\), with 7"),
        (dict(projector="plain", query_hw=None, pos_hw=None), dict(student=(1, 6, 7, 7)),
         r"student's map is \(7, 7\), the teacher's \(5, 8\).*teacher_pool=\(7, 7\)"),
        (dict(student_index=3), {}, r"ufdkd\.student_index: there is no output 3: .* gives 1, "),
    ],
)  # fmt: skip
def test_maps_that_do_not_fit(options, shapes, said):
    """Before training: check_feats is called on a blank image."""
    with pytest.raises(FeatureError, match=said):
        attention(**options).check_feats(*maps(**shapes))
