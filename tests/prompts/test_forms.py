"""The forms of a prompt: logits by hand, evenness, what is frozen, gradients, files."""

import pytest
import torch

from freekd.frequency import HAAR, CosineTransform, FourierTransform, WaveletTransform
from freekd.losses.freekd import FreeKDLoss
from freekd.prompts.file import load_prompts, save_prompts
from freekd.prompts.forms import SIGNED, EnergyBiasForm, EnergyForm
from freekd.prompts.masks import masks_of, prompt_masks
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.reconstruction import masked_reconstruction
from freekd.prompts.spec import PromptSpec

DOUBLE = torch.float64
SIZES = ((8, 12), (5, 7))
every_transform = pytest.mark.parametrize(
    "transform",
    [HAAR, WaveletTransform("db2", 2, "symmetric"), CosineTransform(), FourierTransform()],
    ids=repr,
)
every_energy = pytest.mark.parametrize("form", ["energy", "energy_bias"])
every_granularity = pytest.mark.parametrize("granularity", ["band", "level"])


def feats(seed=0, count=2, channels=4, dtype=torch.float32):
    gen = torch.Generator().manual_seed(seed)
    return [torch.randn(count, channels, *size, generator=gen, dtype=dtype) for size in SIZES]


def energy_prompts(seen=(), form="energy", **options):
    """Prompts of a form with energy that have seen some training batches."""
    torch.manual_seed(0)
    spec = PromptSpec.build(4, 2, form=form, gate=None, **options)
    prompts = FrequencyPrompts(spec, init_std=0.5)
    for bias in prompts.biases or ():
        torch.nn.init.normal_(bias)
    for batch in seen:
        prompts(batch)
    return prompts


def test_energy_by_hand():
    """One level on a 2x4 map: HL is (3 - 1 + 3 - 1) / 2 = 2, then (0 - 4 + 0 - 4) / 2 = -4.

    s = (2 + 4) / 2 = 3, e = 2/3 - 1 = -1/3 and 4/3 - 1 = 1/3; P = 3: M = -1 and 1. LL is 4 and 4:
    s = 4, e = 0. LH and HH are silent: e = 0, and 1/2 of each mask.
    """
    feat = torch.tensor([[3.0, 1.0, 0.0, 4.0], [3.0, 1.0, 0.0, 4.0]]).view(1, 1, 2, 4)
    transform = WaveletTransform(levels=1)
    prompts = FrequencyPrompts(PromptSpec.build(1, 1, 1, transform, gate=None, form="energy"))
    torch.nn.init.constant_(prompts.prompts[0], 3.0)
    _, (masks,) = prompts([feat])
    assert prompts.means.mean(0).flatten().tolist() == [4.0, 0.0, 3.0, 0.0]
    low, horizontal, vertical, diagonal = (mask.flatten().tolist() for mask in masks)
    assert low == horizontal == diagonal == [0.5, 0.5]
    sigma_of_1 = 1 / (1 + 2.718281828459045**-1)
    assert vertical == pytest.approx([1 - sigma_of_1, sigma_of_1], rel=1e-6)


def test_a_level_sums_sizes_not_coefficients():
    """LH = 1 and HL = -1 cancel for signed prompts; their energy is 2."""
    transform = WaveletTransform(levels=1)
    bands = [torch.full((1, 1, 1, 1), value) for value in (0.0, 1.0, -1.0, 0.0)]
    prompt = torch.ones(2, 1, 1)
    form = EnergyForm(torch.tensor([[1.0], [1.0]]))
    signed = prompt_masks(prompt, transform.bands(bands), transform, "level")
    energy = prompt_masks(prompt, transform.bands(bands), transform, "level", form)
    assert float(signed[1]) == 0.5
    assert float(energy[1]) == pytest.approx(float(torch.tensor(1.0).sigmoid()))  # 2 / 1 - 1


@every_transform
@every_granularity
@every_energy
def test_masks_are_as_the_equation_says(transform, granularity, form):
    """sigma(sum_c P_c (|R_c| / s_c - 1) + b), s the mean of the batch that training saw first."""
    options = dict(transform=transform, granularity=granularity)
    prompts = energy_prompts(form=form, **options).to(DOUBLE)
    maps = feats(dtype=DOUBLE)
    _, found = prompts(maps)
    for level, feat in enumerate(maps):
        flat = transform.analyse(feat).flat()
        for k, group in enumerate(transform.groups(granularity)):
            size = sum(flat[member].abs() for member in group.members)
            mean = size.mean((0, 2, 3), keepdim=True)
            energy = torch.where(mean > 0, size / mean - 1, torch.zeros_like(size))
            logits = torch.einsum("tc,nchw->nthw", prompts.prompts[level][k], energy)
            if form == "energy_bias":
                logits = logits + prompts.biases[level][k].view(-1, 1, 1)
            torch.testing.assert_close(found[level][k], logits.sigmoid())


@every_transform
@every_granularity
def test_masks_of_minus_r_are_those_of_r(transform, granularity):
    prompts = energy_prompts([feats(1)], transform=transform, granularity=granularity).eval()
    signed = FrequencyPrompts(
        PromptSpec.build(4, 2, transform=transform, granularity=granularity, gate=None), 0.5
    )
    maps = feats()
    flipped = [-feat for feat in maps]
    for there, back in zip(prompts.masks(maps), prompts.masks(flipped)):
        assert all(torch.equal(a, b) for a, b in zip(there, back))
    for there, back in zip(signed.masks(maps), signed.masks(flipped)):  # and the signed are odd
        for a, b in zip(there, back):
            torch.testing.assert_close(a, 1 - b)


@pytest.mark.parametrize("way", ["masks", "weights", "reconstruction"])
def test_a_frozen_mask_does_not_depend_on_its_batch(way):
    prompts = energy_prompts([feats(1), feats(2)]).to(DOUBLE).requires_grad_(False)
    one, two = feats(3, count=1, dtype=DOUBLE), feats(4, count=3, dtype=DOUBLE)
    both = [torch.cat(pair) for pair in zip(one, two)]
    compute = {
        "masks": prompts.masks,
        "weights": prompts.weights,
        "reconstruction": lambda maps: prompts(maps)[1],
    }[way]
    before = {name: value.clone() for name, value in prompts.state_dict().items()}
    for alone, together in zip(compute(one), compute(both)):
        for a, b in zip(alone, together):
            torch.testing.assert_close(a[0], b[0], rtol=1e-12, atol=1e-14)
    for name, value in prompts.state_dict().items():  # frozen prompts see nothing, in any mode
        assert prompts.training and torch.equal(value, before[name]), name


def test_s_is_the_mean_over_all_that_training_saw():
    """Batches of 2 and 3 images of other sizes: the mean over all their positions."""
    prompts = energy_prompts().to(DOUBLE)
    gen = torch.Generator().manual_seed(5)
    shapes = ((2, 4, 8, 8), (3, 4, 16, 8))
    batches = [[torch.randn(s, generator=gen, dtype=DOUBLE) for _ in range(2)] for s in shapes]
    for batch in batches:
        prompts(batch)
    for level in range(2):
        bands = [HAAR.analyse(batch[level]).flat() for batch in batches]
        for k, found in enumerate(prompts.means.mean(level)):
            sizes = [b[k].abs().transpose(0, 1).flatten(1) for b in bands]
            torch.testing.assert_close(found, torch.cat(sizes, 1).mean(1))
    kept = prompts.means.mean(0).clone()
    prompts.eval()(batches[0])
    assert torch.equal(prompts.means.mean(0), kept)  # evaluation looks, and learns nothing
    prompts.train()([torch.full_like(x, float("nan")) for x in batches[0]])
    assert torch.equal(prompts.means.mean(0), kept)  # nor from what is not finite


def test_before_the_first_batch_every_mask_is_one_half():
    prompts = energy_prompts().eval()
    outs, masks = prompts(feats())
    assert all(bool((mask == 0.5).all()) for level in masks for mask in level)
    for out, feat in zip(outs, feats()):  # T = 2: the identity
        torch.testing.assert_close(out, feat)


def test_the_first_step_is_centred():
    """e has the mean 0 over the batch, so P gets no push that all places share."""
    prompts = energy_prompts()
    for level in (0, 1):
        prompts.prompts[level].data.zero_()
    _, masks = prompts(feats())
    sum(mask.sum() for level in masks for mask in level).backward()  # d/dM = 1/4 everywhere
    for prompt in prompts.prompts:
        assert float(prompt.grad.abs().max()) < 1e-4


@every_transform
@every_granularity
@every_energy
def test_a_few_channels_at_a_time_are_the_bands(transform, granularity, form, monkeypatch):
    monkeypatch.setattr("freekd.prompts.masks._LEAST", 1)  # a channel
    options = dict(transform=transform, granularity=granularity)
    prompts = energy_prompts([feats(1)], form, **options).to(DOUBLE).requires_grad_(False)
    for level, feat in enumerate(feats(dtype=DOUBLE)):
        form, prompt = prompts.form(level), prompts.prompts[level]
        got = masks_of(prompt, feat, transform, granularity, form)
        want = prompt_masks(prompt, transform.analyse(feat), transform, granularity, form)
        for a, b in zip(got, want):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("form", ["signed", "energy_bias"])
def test_what_a_price_closes_and_the_task_opens(form):
    """A quarter of the map is 10 times as large. Reconstruction wants that, the price little.

    With b the background closes and the quarter stays open; the signed form cannot tell them apart.
    """
    gen = torch.Generator().manual_seed(0)
    feat = torch.randn(4, 4, 32, 32, generator=gen) * 0.1
    feat[:, :, :16, :16] *= 10
    torch.manual_seed(0)
    prompts = FrequencyPrompts(PromptSpec.build(4, 1, form=form, gate=None))
    optimizer = torch.optim.Adam(prompts.parameters(), lr=0.05)
    for _ in range(80):
        (out,), masks = prompts([feat])
        loss = (out - feat).square().mean() + 0.2 * prompts.passing(masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sums = [mask.detach().sum(1) for mask in masks[0][1:7]]  # the details of levels 1 and 2
    inside = [x[:, : x.shape[1] // 2, : x.shape[2] // 2].mean() for x in sums]
    outside = [(4 * x.mean() - quarter) / 3 for x, quarter in zip(sums, inside)]
    apart = [float(a - b) for a, b in zip(inside, outside)]
    assert min(apart) > 0.4 if form == "energy_bias" else max(apart) < 0.1, apart


def test_gradcheck():
    gen = torch.Generator().manual_seed(0)
    transform = WaveletTransform(levels=1)
    prompt = torch.randn(4, 2, 2, generator=gen, dtype=DOUBLE, requires_grad=True)
    feat = torch.randn(1, 2, 3, 4, generator=gen, dtype=DOUBLE, requires_grad=True)
    mean = torch.rand(4, 2, generator=gen, dtype=DOUBLE) + 0.1
    bias = torch.randn(4, 2, generator=gen, dtype=DOUBLE, requires_grad=True)

    def out(p, f, b):
        return masked_reconstruction(f, p, transform, form=EnergyBiasForm(mean, b))[0]

    assert torch.autograd.gradcheck(out, (prompt, feat, bias))


def test_a_silent_channel_has_no_say():
    """Its P may be anything: no infinity, and no gradient."""
    maps = feats()
    for feat in maps:
        feat[:, 1] = 0
    prompts = energy_prompts()
    for prompt in prompts.prompts:
        prompt.data[:, :, 1] = 1e6
    _, masks = prompts(maps)
    other = energy_prompts()
    for ours, theirs in zip(prompts.prompts, other.prompts):
        theirs.data.copy_(ours.data)
        theirs.data[:, :, 1] = 0
    for ours, theirs in zip(masks, other(maps)[1]):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs))
    sum(mask.sum() for level in masks for mask in level).backward()
    assert all(float(prompt.grad[:, :, 1].abs().max()) == 0 for prompt in prompts.prompts)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_computed_in_float32(dtype):
    """Under autocast, and of low maps: the numbers of the same maps in float32."""
    low = [feat.to(dtype) for feat in feats()]
    results = []
    for maps, autocast in ((low, True), ([feat.float() for feat in low], False)):
        prompts = energy_prompts()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            outs, masks = prompts(maps)
            weights = prompts.weights(maps)
        results.append((prompts.means.mean(0), masks, weights))
        assert {out.dtype for out in outs} == {maps[0].dtype}
    for ours, wide in zip(*results):
        torch.testing.assert_close(ours, wide, rtol=0, atol=0)


@every_granularity
@every_energy
def test_a_file_keeps_the_form_and_what_it_saw(granularity, form, tmp_path):
    prompts = energy_prompts([feats(1)], form, granularity=granularity)
    path = str(tmp_path / "prompts.pth")
    save_prompts(prompts, path)
    content = torch.load(path, weights_only=True)
    assert (content["version"], content["spec"]["form"]) == (3, form)
    loaded = load_prompts(path, prompts.spec).prompts
    assert not loaded.training
    for name, value in prompts.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    prompts.requires_grad_(False)
    for ours, theirs in zip(prompts.weights(feats()), loaded.weights(feats())):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs))
    loss = FreeKDLoss(4, 4, 2, prompts=path)  # stage 2 takes the form from the file
    got = loss([x.requires_grad_() for x in feats(7)], feats())
    want = 0
    for s, t, masks in zip(feats(7), feats(), prompts.masks(feats())):
        a, b = (HAAR.analyse(x).flat() for x in (s, t))
        for mask, group in zip(masks, HAAR.groups(granularity)):
            weight = mask.mean(1, keepdim=True)
            want = want + torch.stack([weight * (a[m] - b[m]).abs() for m in group.members]).mean()
    torch.testing.assert_close(got, want)


def test_another_form_than_asked_for_names_the_key(tmp_path):
    path = str(tmp_path / "prompts.pth")
    save_prompts(energy_prompts(), path)
    with pytest.raises(ValueError, match="form: the config says 'signed', the file was made for"):
        load_prompts(path, PromptSpec.build(4, 2, gate=None))
    content = torch.load(path, weights_only=True)
    content["spec"]["form"] = "cubic"
    torch.save(content, path)
    with pytest.raises(RuntimeError, match="form='cubic' is not known; expected one of 'signed'"):
        load_prompts(path)


def test_what_has_no_form_is_signed():
    """Files of versions 1 and 2 say nothing of it."""
    values = PromptSpec.build(4, 2).to_dict()
    values.pop("form")
    assert PromptSpec.from_dict(values) == PromptSpec.build(4, 2)
    assert not FrequencyPrompts(PromptSpec.build(4, 2)).form(0).magnitudes
    assert SIGNED.factors(torch.ones(1, 1, 1)).offset is None
