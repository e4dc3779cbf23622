"""Stage 2: the loss, the distiller, the algorithm."""

import copy

import pytest
import tiny
import torch
from direct import direct_loss

from freekd.losses.align import standardize
from freekd.losses.freekd import freekd_loss
from freekd.prompts.file import save_prompts
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec

SIZES = ((8, 9), (4, 5), (2, 3))


def feats(channels=tiny.CHANNELS, seed=0, sizes=SIZES):
    gen = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, channels, *size, generator=gen) for size in sizes)


@pytest.fixture
def prompt_file(tmp_path):
    torch.manual_seed(0)
    prompts = FrequencyPrompts(PromptSpec.build(tiny.CHANNELS, tiny.NUM_LEVELS))
    for parameter in prompts.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    path = str(tmp_path / "prompts.pth")
    save_prompts(prompts, path)
    return path


def loss_module(**kwargs):
    cfg = tiny.freekd_loss(**kwargs)
    cfg.pop("name")
    return tiny.build(cfg)


@pytest.mark.parametrize("granularity", ["band", "level"])
@pytest.mark.parametrize("normalize", [None, "channel"])
@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("gated", [False, True])
def test_the_module_is_the_direct_formulation(granularity, normalize, distance, gated, tmp_path):
    """benchmarks/direct.py, through everything that the module does, gradient included."""
    torch.manual_seed(0)
    sizes, options = ((13, 10), (7, 5)), dict(granularity=granularity, num_prompts=3)
    gate = "position" if gated else None
    prompts = FrequencyPrompts(PromptSpec.build(4, 2, gate=gate, **options), init_std=0.5)
    for parameter in prompts.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    save_prompts(prompts, str(tmp_path / "p.pth"))
    module = loss_module(
        student_channels=4, teacher_channels=4, num_levels=2, normalize=normalize,
        distance=distance, gate=gate, loss_weight=0.5,
        prompts=str(tmp_path / "p.pth"), **options,
    )  # fmt: skip
    student = [torch.randn(2, 4, *size, requires_grad=True) for size in sizes]
    teacher = [torch.randn(2, 4, *size) for size in sizes]
    prompts.requires_grad_(False)
    mlps = prompts.gate.mlps if gated else None
    want = 0.5 * direct_loss(
        student, teacher, prompts.prompts, mlps, None, granularity, distance, "all", normalize
    )
    got = module(student, teacher)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=0)
    for a, b in zip(torch.autograd.grad(got, student), torch.autograd.grad(want, student)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * float(b.abs().max()))


def test_without_prompts_it_is_eq_3():
    student, teacher = feats(seed=1), feats(seed=2)
    want = sum(freekd_loss(s, t) for s, t in zip(student, teacher))
    torch.testing.assert_close(loss_module()(student, teacher), want)
    torch.testing.assert_close(loss_module(loss_weight=0.25)(student, teacher), want / 4)


def test_with_prompts_and_gate_it_is_eq_13(prompt_file):
    module = loss_module(prompts=prompt_file)
    student, teacher = feats(seed=1), feats(seed=2)
    masks, gate = module.prompts.masks(teacher), module.prompts.gate
    want = sum(
        freekd_loss(s, t, m, wt * ws)
        for s, t, m, wt, ws in zip(student, teacher, masks, gate(teacher), gate(student))
    )
    torch.testing.assert_close(module(student, teacher), want.detach())


def test_options_change_what_they_say(prompt_file):
    student, teacher = feats(seed=1), feats(seed=2)
    plain = loss_module()(student, teacher)
    low = loss_module(bands="low")(student, teacher)
    high = loss_module(bands="high")(student, teacher)
    torch.testing.assert_close(low + high, plain)
    normalized = loss_module(normalize="channel")
    want = sum(freekd_loss(standardize(s), standardize(t)) for s, t in zip(student, teacher))
    torch.testing.assert_close(normalized(student, teacher), want)
    scaled = tuple(9 * s + 1 for s in student)
    torch.testing.assert_close(normalized(scaled, teacher), want, rtol=1e-3, atol=1e-3)
    gateless = loss_module(prompts=prompt_file, gate=None)
    masks = gateless.prompts.masks(teacher)
    want = sum(freekd_loss(s, t, m) for s, t, m in zip(student, teacher, masks))
    torch.testing.assert_close(gateless(student, teacher), want)


def test_aligns_channels_and_sizes():
    module = loss_module(student_channels=4)
    student = feats(4, sizes=((4, 5), (2, 3), (1, 2)))
    module(student, feats()).backward()
    assert [conv.weight.shape[:2] for conv in module.align] == [(8, 4)] * 3
    assert all(float(conv.weight.grad.abs().max()) > 0 for conv in module.align)
    assert loss_module().align is None  # 'auto' with equal channels
    identity = loss_module(align="conv1x1")
    torch.testing.assert_close(
        identity(feats(seed=1), feats()), loss_module()(feats(seed=1), feats())
    )


def test_single_tensor_and_unequal_channels_per_level():
    single = loss_module(num_levels=1)
    assert torch.isfinite(single(feats(seed=1)[0], feats()[0]))
    module = loss_module(student_channels=(4, 8), teacher_channels=(8, 16), num_levels=2, gate=None)
    sizes = SIZES[:2]
    student = (torch.randn(2, 4, *sizes[0]), torch.randn(2, 8, *sizes[1]))
    teacher = (torch.randn(2, 8, *sizes[0]), torch.randn(2, 16, *sizes[1]))
    assert torch.isfinite(module(student, teacher))


def test_prompts_and_gate_are_frozen_and_cannot_shrink_the_loss(prompt_file):
    """Nothing of the gate or the prompts gets a gradient from the distillation loss, and the
    student's gradient is that of constant weights: moving omega^s is no way to lower the loss."""
    module = loss_module(prompts=prompt_file).train()
    before = copy.deepcopy(module.prompts.state_dict())
    teacher = feats(seed=2)
    student = tuple(feat.requires_grad_() for feat in feats(seed=1))
    weights = module.relation_weights(student, teacher)
    assert not any(weight.requires_grad for weight in weights)
    assert not any(p.requires_grad for p in module.prompts.parameters())
    optimizer = torch.optim.SGD(
        [*student, *module.parameters()], lr=0.5, momentum=0.9, weight_decay=0.1
    )
    loss = module(student, teacher)
    got = torch.autograd.grad(loss, student, retain_graph=True)
    constant = sum(
        freekd_loss(s, t, m, w.clone())
        for s, t, m, w in zip(student, teacher, module.prompts.masks(teacher), weights)
    )
    for a, b in zip(got, torch.autograd.grad(constant, student)):
        torch.testing.assert_close(a, b)
    for _ in range(3):
        optimizer.zero_grad()
        module(student, teacher).backward()
        optimizer.step()
    for name, value in module.prompts.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_no_gradient_into_the_teacher():
    teacher = tuple(feat.requires_grad_() for feat in feats(seed=2))
    student = tuple(feat.requires_grad_() for feat in feats(seed=1))
    loss_module()(student, teacher).backward()
    assert all(feat.grad is None for feat in teacher)
    assert all(float(feat.grad.abs().max()) > 0 for feat in student)


def test_autocast_and_half_inputs_compute_in_float32(prompt_file):
    module = loss_module(prompts=prompt_file, student_channels=4)
    student = tuple(feat.half() for feat in feats(4, seed=1))
    teacher = tuple(feat.half() for feat in feats(seed=2))
    want = module(tuple(s.float() for s in student), tuple(t.float() for t in teacher))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = module(student, teacher)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        (dict(align=None, student_channels=4), ["align=None", "student_channels", "align='auto'"]),
        (dict(align="conv3x3"), ["align='conv3x3'", "'conv1x1'"]),
        (dict(bands="mid"), ["bands='mid'", "'high'"]),
        (dict(gate="positoin"), ["gate.type='positoin'", "nearest: 'position'"]),
        (dict(normalize="batch"), ["normalize='batch'", "'channel'"]),
        (dict(student_channels=(8, 8)), ["student_channels", "num_levels=3"]),
        (dict(transform="haarlet"), ["transform.type='haarlet'", "nearest: 'haar'"]),
        (dict(wavelet="db2"), ["transform=dict(type='db2', levels=3, mode='zero')"]),
    ],
)
def test_loss_config_errors(kwargs, words):
    with pytest.raises(ValueError) as error:
        loss_module(**kwargs)
    for word in words:
        assert word in str(error.value)


def test_loss_refuses_features_and_prompts_that_do_not_fit(prompt_file):
    with pytest.raises(ValueError, match=r"student level 0.*\(N, 8, H, W\).*\(2, 4, 8, 9\)"):
        loss_module()(feats(4), feats())
    with pytest.raises(ValueError, match="teacher module gives 2 feature maps, num_levels=3"):
        loss_module()(feats(), feats()[:2])
    with pytest.raises(ValueError, match="num_prompts: the config says 6, the file was made for 2"):
        loss_module(prompts=prompt_file, num_prompts=6)
    with pytest.raises(FileNotFoundError, match="python tools/train.py configs/prompt"):
        loss_module(prompts=prompt_file + ".none")


# ------------------------------------------------------------------ distiller and algorithm


def test_one_step(batch, prompt_file):
    torch.manual_seed(0)
    algorithm = tiny.build(tiny.distill([tiny.freekd_loss(prompts=prompt_file, loss_weight=0.1)]))
    algorithm.train()
    teacher = copy.deepcopy(algorithm.distiller.teacher.state_dict())
    prompts = copy.deepcopy(algorithm.distiller.losses.state_dict())
    optimizer = torch.optim.AdamW(algorithm.parameters(), lr=0.01)
    outputs = algorithm.train_step(batch, optimizer)
    outputs["loss"].backward()
    optimizer.step()
    log = outputs["log_vars"]
    task = log["student.loss_cls"] + log["student.loss_bbox"]
    assert log["ratio.freekd"] == pytest.approx(log["distiller.loss_freekd.0"] / task)
    assert log["loss"] == pytest.approx(task + log["distiller.loss_freekd.0"], rel=1e-5)
    for name, value in algorithm.distiller.teacher.state_dict().items():
        assert torch.equal(value, teacher[name]), name
    for name, value in algorithm.distiller.losses.state_dict().items():
        assert torch.equal(value, prompts[name]), name
    assert not any(p.requires_grad for p in algorithm.distiller.teacher.parameters())
    assert all(
        p.grad is not None for n, p in algorithm.architecture.model.backbone.named_parameters()
    )


def test_loss_equals_that_of_the_features(batch):
    """What the hooks caught is what the two models compute."""
    torch.manual_seed(0)
    algorithm = tiny.build(tiny.distill([tiny.freekd_loss()])).train()
    student, teacher = algorithm.architecture.model, algorithm.distiller.teacher
    value = algorithm.train_step(batch, None)["log_vars"]["distiller.loss_freekd.0"]
    with torch.no_grad():
        want = loss_module()(
            student.extract_feat(batch["img"]), teacher.eval().extract_feat(batch["img"])
        )
    assert value == pytest.approx(float(want), rel=1e-4)


def test_teacher_runs_its_head_only_when_it_is_tapped(batch):
    count = []
    for module, losses, runs in (
        ("neck", [tiny.freekd_loss()], 0),
        ("bbox_head", [dict(type="ChannelWiseDivergence", name="loss_cwd")], 1),
    ):
        algorithm = tiny.build(tiny.distill(losses, module=module)).train()
        count.clear()
        algorithm.distiller.teacher.bbox_head.register_forward_hook(lambda *_: count.append(1))
        if module == "neck":
            algorithm.train_step(batch, None)
        else:  # the head gives two lists of maps, which no loss here takes
            with pytest.raises(ValueError, match=r"components\[0\].student_module"):
                algorithm.train_step(batch, None)
        assert len(count) == runs


def test_shared_convolution_of_a_head(batch):
    """A module that runs once per level, as MMRazor's configs tap it."""
    losses = [dict(type="ChannelWiseDivergence", name="loss_cwd")]
    algorithm = tiny.build(tiny.distill(losses, module="bbox_head.retina_cls")).train()
    log = algorithm.train_step(batch, None)["log_vars"]
    assert [name for name in log if "cwd" in name and name.startswith("distiller")] == [
        f"distiller.loss_cwd.{i}" for i in range(3)
    ]
    total = sum(log[f"distiller.loss_cwd.{i}"] for i in range(3))
    assert log["ratio.cwd"] == pytest.approx(
        total / (log["student.loss_cls"] + log["student.loss_bbox"]), rel=1e-4
    )


def test_mmrazors_own_loss_on_a_pyramid_and_two_components_on_one_module(batch):
    cfg = tiny.distill([tiny.freekd_loss()])
    cfg["distiller"]["components"].append(
        dict(
            student_module="neck", teacher_module="neck",
            align_module=dict(type="conv2d", student_channels=8, teacher_channels=8),
            losses=[dict(type="ChannelWiseDivergence", name="loss_cwd")],
        )
    )  # fmt: skip
    torch.manual_seed(0)
    algorithm = tiny.build(cfg).train()
    log = algorithm.train_step(batch, None)["log_vars"]
    assert {"distiller.loss_freekd.0", "distiller.loss_cwd.0"} <= set(log)
    assert "distiller.loss_freekd.1" not in log  # the stock distiller would double each term
    student, teacher = (
        m.extract_feat(batch["img"])
        for m in (algorithm.architecture.model, algorithm.distiller.teacher)
    )
    align = algorithm.distiller.align_modules["component_1"]
    cwd = algorithm.distiller.losses["loss_cwd"]
    want = sum(float(cwd(align(s), t).detach()) for s, t in zip(student, teacher))
    assert log["distiller.loss_cwd.0"] == pytest.approx(want, rel=1e-3)


def test_works_in_the_stock_distiller(batch, prompt_file):
    cfg = tiny.distill([tiny.freekd_loss(prompts=prompt_file)])
    cfg["type"] = "GeneralDistill"
    cfg["distiller"]["type"] = "SingleTeacherDistiller"
    algorithm = tiny.build(cfg)
    outputs = algorithm.train_step(batch, None)
    outputs["loss"].backward()
    assert float(outputs["log_vars"]["distiller.loss_freekd.0"]) > 0


def test_train_and_eval_modes():
    algorithm = tiny.build(tiny.distill([tiny.freekd_loss()]))
    assert algorithm.train() is algorithm and algorithm.distiller.train() is algorithm.distiller
    random = (torch.nn.modules.batchnorm._BatchNorm, torch.nn.modules.dropout._DropoutNd)
    assert not any(
        m.training for m in algorithm.distiller.teacher.modules() if isinstance(m, random)
    )
    assert algorithm.distiller.teacher.bbox_head.training  # computes training losses if tapped
    algorithm.eval()
    assert not any(m.training for m in algorithm.distiller.teacher.modules())
    algorithm.train()
    assert algorithm.architecture.model.backbone.bn1.training


def test_checkpoints_leave_the_teacher_out_and_load_back():
    cfg = tiny.distill([tiny.freekd_loss(align="conv1x1")])
    torch.manual_seed(0)
    one = tiny.build(cfg)
    state = one.state_dict()
    assert not any("teacher" in name for name in state)
    assert any(name.startswith("distiller.losses.loss_freekd.align") for name in state)
    torch.manual_seed(1)
    two = tiny.build(cfg)
    teacher = copy.deepcopy(two.distiller.teacher.state_dict())
    two.load_state_dict(state, strict=True)
    for name, value in two.state_dict().items():
        assert torch.equal(value, state[name])
    for name, value in two.distiller.teacher.state_dict().items():
        assert torch.equal(value, teacher[name])
    kept = tiny.build(tiny.distill([tiny.freekd_loss()], save_teacher=True))
    assert any(name.startswith("distiller.teacher.") for name in kept.state_dict())


def test_prompts_of_another_teacher_are_refused(tmp_path):
    torch.manual_seed(0)
    stage1 = tiny.build(
        dict(
            type="FrequencyPromptFinetune",
            architecture=tiny.prompt_teacher(model=tiny.detector(base_channels=8)),
        )
    )
    path = str(tmp_path / "prompts.pth")
    stage1.save_prompts(path)
    algorithm = tiny.build(tiny.distill([tiny.freekd_loss(prompts=path)]))
    with pytest.raises(ValueError) as error:
        algorithm.check_ready()
    for word in ("fingerprint", "distiller.teacher_checkpoint", "configs/prompt/"):
        assert word in str(error.value)
    algorithm.distiller.teacher.load_state_dict(stage1.architecture.model.state_dict())
    algorithm.check_ready()  # the right teacher
    other = tiny.distill([tiny.freekd_loss(prompts=path)])
    other["distiller"]["components"][0]["teacher_module"] = "backbone"
    algorithm = tiny.build(other)
    with pytest.raises(ValueError, match="made for teacher_module='neck'.*taps 'backbone'"):
        algorithm.check_ready()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c[0].update(student_module="nek"), ["[0].student_module='nek'", "'neck'"]),
        (lambda c: c[0].update(teacher_module="neck.fpn"), ["module='neck.fpn'", "neck.fpn_convs"]),
        (lambda c: c[0].update(loss=[]), ["unknown keys ['loss']", "student_module"]),
        (lambda c: c[0].pop("losses"), ["missing keys ['losses']"]),
        (lambda c: c.append(copy.deepcopy(c[0])), ["two losses are named 'loss_freekd'"]),
        (lambda c: c[0]["losses"][0].update(name="freekd"), ["name='freekd'", "contain 'loss'"]),
        (lambda c: c.clear(), ["distiller.components must be"]),
    ],
)  # fmt: skip
def test_distiller_config_errors(change, words):
    cfg = tiny.distill([tiny.freekd_loss()])
    change(cfg["distiller"]["components"])
    with pytest.raises(ValueError) as error:
        tiny.build(cfg)
    for word in words:
        assert word in str(error.value)


def test_module_that_never_runs(batch):
    cfg = tiny.distill([tiny.freekd_loss()])
    cfg["distiller"]["components"][0]["student_module"] = "bbox_head.loss_cls.loss_fn"
    with pytest.raises(ValueError, match="no such module"):
        tiny.build(cfg)
    cfg["distiller"]["components"][0].update(student_module="", teacher_module="")
    with pytest.raises(ValueError, match="no such module"):  # the whole model is not a tap
        tiny.build(cfg)


def test_removed_hooks_record_nothing(batch):
    algorithm = tiny.build(tiny.distill([tiny.freekd_loss()])).train()
    algorithm.distiller.remove_hooks()
    with pytest.raises(RuntimeError, match="ran 0 times in the student, 'neck' 0 times"):
        algorithm.train_step(batch, None)


def test_teacher_can_not_be_trainable():
    cfg = tiny.distill([tiny.freekd_loss()], teacher_trainable=True)
    with pytest.raises(ValueError, match="frozen"):
        tiny.build(cfg)
    with pytest.raises(ValueError, match="with_teacher_loss"):
        tiny.build(dict(tiny.distill([tiny.freekd_loss()]), with_teacher_loss=True))
