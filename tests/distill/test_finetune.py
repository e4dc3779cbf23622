"""Stage 1's options: the price for what passes, L_dis as a mean, fills, forms; resume; errors."""

import copy

import pytest
import tiny
import torch

from freekd.prompts.file import load_prompts


def finetune(options=None, **teacher):
    torch.manual_seed(0)
    return tiny.build(
        dict(
            type="FrequencyPromptFinetune",
            architecture=tiny.prompt_teacher(**{"gate": None, **teacher}),
            **(options or {}),
        )
    ).train()


def zeroed(algorithm):
    for parameter in algorithm.architecture.prompts.prompts:
        torch.nn.init.zeros_(parameter)
    return algorithm


@pytest.mark.parametrize("form", ["signed", "energy"])
def test_log_of_the_first_step(batch, form):
    """P = 0: all masks 1/2, so Jaccard 1 on the mean, and T = 2 masks pass 1; .2 times that."""
    options = dict(dissimilarity_reduction="mean", dissimilarity_weight=0.5, sparsity=0.2)
    log = zeroed(finetune(options, form=form)).train_step(batch, None)["log_vars"]
    assert log["loss_dissimilarity"] == pytest.approx(0.5, rel=1e-5)
    assert log["loss_sparsity"] == pytest.approx(0.2, rel=1e-6)
    assert log["mask_sum"] == pytest.approx(1, rel=1e-6)
    task = log["teacher.loss_cls"] + log["teacher.loss_bbox"]
    assert log["loss"] == pytest.approx(task + 0.7, rel=1e-5)
    assert log["ratio.sparsity"] == pytest.approx(0.2 / task, rel=1e-4)
    assert log["ratio.dissimilarity"] == pytest.approx(0.5 / task, rel=1e-4)


def test_without_a_price_the_log_is_the_published_one(batch):
    log = finetune().train_step(batch, None)["log_vars"]
    assert not any("sparsity" in name for name in log)


def test_the_price_by_hand(batch):
    """The mean over three levels of ten bands, each a mean over images and positions."""
    algorithm = finetune(dict(sparsity=3.0))
    for parameter in algorithm.architecture.prompts.prompts:
        torch.nn.init.normal_(parameter)
    losses = algorithm(**batch)
    sums = [
        float(mask.detach().double().sum(1).mean())
        for level in algorithm.architecture.masks
        for mask in level
    ]
    assert len(sums) == 30
    assert float(losses["loss_sparsity"].detach()) == pytest.approx(3 * sum(sums) / 30, rel=1e-5)


def test_the_price_makes_less_pass(batch):
    algorithm = finetune(dict(sparsity=5.0, dissimilarity_weight=0.0), form="energy_bias")
    optimizer = torch.optim.Adam(algorithm.architecture.prompts.parameters(), lr=0.05)
    passing = []
    for _ in range(5):
        outputs = algorithm.train_step(batch, optimizer)
        optimizer.zero_grad()
        outputs["loss"].backward()
        optimizer.step()
        passing.append(outputs["log_vars"]["mask_sum"])
    assert passing == sorted(passing, reverse=True) and passing[-1] < 0.95


@pytest.mark.parametrize("fill", ["zero", "mean", "noise"])
@pytest.mark.parametrize("form", ["signed", "energy_bias"])
def test_only_prompts_learn_whatever_the_options(batch, form, fill):
    algorithm = finetune(dict(sparsity=0.1), form=form, fill=fill, gate="position")
    before = copy.deepcopy(algorithm.state_dict())
    optimizer = torch.optim.Adam(algorithm.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):  # the gate's first layer learns from the second step on
        outputs = algorithm.train_step(batch, optimizer)
        optimizer.zero_grad()
        outputs["loss"].backward()
        optimizer.step()
    changed = {n for n, v in algorithm.state_dict().items() if not torch.equal(v, before[n])}
    parts = ("architecture.prompts.", "architecture.fill.")
    assert changed == {name for name in before if name.startswith(parts)}
    names = {name for name, p in algorithm.named_parameters() if p.requires_grad}
    assert all(name.startswith(parts[0]) for name in names)
    assert any(name.startswith(parts[1]) for name in before) == (fill != "zero")


def test_noise_is_of_the_seed_and_evaluation_has_none(batch):
    def outputs(seed, mode):
        algorithm = finetune(fill="noise", num_prompts=1)  # half of each coefficient is filled
        kept = []
        head = algorithm.architecture.model.bbox_head
        head.register_forward_pre_hook(lambda _, args: kept.append(args[0][0].detach()))
        algorithm.train_step(batch, None)  # has seen a batch
        algorithm.train(mode)
        torch.manual_seed(seed)
        with torch.no_grad():
            algorithm.architecture.model.forward_dummy(batch["img"])
        return kept[-1]

    assert torch.equal(outputs(1, True), outputs(1, True))
    assert not torch.equal(outputs(1, True), outputs(2, True))
    assert torch.equal(outputs(1, False), outputs(2, False))


def test_saves_what_its_form_has_seen(batch, tmp_path):
    algorithm = finetune(form="energy", fill="noise")
    algorithm.train_step(batch, None)
    path = str(tmp_path / "prompts.pth")
    algorithm.save_prompts(path)
    prompts = algorithm.architecture.prompts
    loaded = load_prompts(path, prompts.spec).prompts
    assert set(loaded.state_dict()) == set(prompts.state_dict())  # nothing of the fill
    assert torch.equal(loaded.means.mean(1), prompts.means.mean(1))
    assert float(loaded.means.mean(1).min()) > 0


@pytest.mark.parametrize(
    ("options", "teacher", "words"),
    [
        (dict(dissimilarity_reduction="max"), {}, "dissimilarity_reduction='max'.*'sum', 'mean'"),
        (dict(sparsity=-0.1), {}, "algorithm.sparsity must be a finite number of at least 0"),
        (dict(sparsity=float("nan")), {}, "algorithm.sparsity must be a finite number"),
        (dict(sparsity="much"), {}, "algorithm.sparsity must be a finite number"),
        ({}, dict(fill="blur"), "architecture.fill='blur' is not known; expected one of 'zero'"),
        ({}, dict(form="even"), "form='even' is not known; expected one of 'signed', 'energy'"),
    ],
)
def test_errors_come_before_training(options, teacher, words):
    with pytest.raises(ValueError, match=words):
        finetune(options, **teacher)
