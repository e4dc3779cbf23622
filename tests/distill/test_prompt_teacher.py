"""Stage 1: what the wrapper replaces, what it leaves alone, what learns."""

import copy

import pytest
import tiny
import torch

from freekd.prompts.file import fingerprint, load_prompts
from freekd.prompts.reconstruction import masked_reconstruction


def finetune(**kwargs):
    torch.manual_seed(0)
    algorithm = tiny.build(
        dict(type="FrequencyPromptFinetune", architecture=tiny.prompt_teacher(**kwargs))
    )
    algorithm.train()
    return algorithm


def neck_output(model, img):
    kept = []
    handle = model.bbox_head.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    with torch.no_grad():
        model.forward_dummy(img)
    handle.remove()
    return kept[0]


def test_unprompted_is_the_bare_teacher_bitwise(batch):
    torch.manual_seed(0)
    bare = tiny.build(tiny.detector()).eval()
    wrapped = tiny.build(tiny.prompt_teacher())
    wrapped.model.load_state_dict(bare.state_dict())
    wrapped.eval()
    with wrapped.unprompted():
        for a, b in zip(neck_output(bare, batch["img"]), neck_output(wrapped.model, batch["img"])):
            assert torch.equal(a, b)
        losses = wrapped.model(return_loss=True, **batch)
    for name, value in bare(return_loss=True, **batch).items():
        assert torch.equal(torch.stack(value), torch.stack(losses[name]))
    assert wrapped.prompted  # the context gives it back
    prompted = neck_output(wrapped.model, batch["img"])
    assert not torch.equal(prompted[0], a)


def test_prompted_output_is_the_masked_reconstruction(batch):
    wrapped = tiny.build(tiny.prompt_teacher(gate=None)).eval()
    for parameter in wrapped.prompts.prompts:
        torch.nn.init.normal_(parameter)
    with wrapped.unprompted():
        plain = neck_output(wrapped.model, batch["img"])
    masked = neck_output(wrapped.model, batch["img"])
    assert isinstance(masked, tuple) and len(masked) == 3
    for feat, out, prompt in zip(plain, masked, wrapped.prompts.prompts):
        assert out.shape == feat.shape  # cut to size: 8x9, 4x5, 2x3
        assert torch.equal(out, masked_reconstruction(feat, prompt)[0])


def test_removed_hook_leaves_the_bare_model(batch):
    wrapped = tiny.build(tiny.prompt_teacher()).eval()
    with wrapped.unprompted():
        plain = neck_output(wrapped.model, batch["img"])
    wrapped.remove_hook()
    assert torch.equal(neck_output(wrapped.model, batch["img"])[0], plain[0])


def test_only_prompts_and_gate_learn(batch):
    """After steps with every parameter in the optimizer, the teacher is the same, bitwise."""
    algorithm = finetune()
    teacher = copy.deepcopy(algorithm.architecture.model.state_dict())
    prompts = copy.deepcopy(algorithm.architecture.prompts.state_dict())
    optimizer = torch.optim.Adam(algorithm.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        algorithm.train()
        outputs = algorithm.train_step(batch, optimizer)
        optimizer.zero_grad()
        outputs["loss"].backward()
        optimizer.step()
    for name, value in algorithm.architecture.model.state_dict().items():
        assert torch.equal(value, teacher[name]), name
    changed = [
        name
        for name, value in algorithm.architecture.prompts.state_dict().items()
        if not torch.equal(value, prompts[name])
    ]
    assert set(changed) == set(prompts)
    names = [n for n, p in algorithm.named_parameters() if p.requires_grad]
    assert names and all(name.startswith("architecture.prompts.") for name in names)
    norms = torch.nn.modules.batchnorm._BatchNorm
    assert not any(
        m.training for m in algorithm.architecture.model.modules() if isinstance(m, norms)
    )


def test_steps_lower_the_loss(batch):
    algorithm = finetune(gate=None)
    optimizer = torch.optim.Adam(algorithm.architecture.prompts.parameters(), lr=0.05)
    history = []
    for _ in range(15):
        outputs = algorithm.train_step(batch, optimizer)
        optimizer.zero_grad()
        outputs["loss"].backward()
        optimizer.step()
        history.append(outputs["log_vars"])
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["loss_dissimilarity"] < history[0]["loss_dissimilarity"]


def test_log_of_the_first_step(batch):
    """At sigma = 1/2 all masks are alike: Jaccard 1 per band and level, 10 x 3; T = 2 sums to 1."""
    algorithm = finetune(gate=None)
    for parameter in algorithm.architecture.prompts.prompts:
        torch.nn.init.zeros_(parameter)
    log = algorithm.train_step(batch, None)["log_vars"]
    assert log["loss_dissimilarity"] == pytest.approx(30, rel=1e-5)
    assert log["mask_sum"] == pytest.approx(1, rel=1e-6)
    total = log["teacher.loss_cls"] + log["teacher.loss_bbox"] + log["loss_dissimilarity"]
    assert log["loss"] == pytest.approx(total, rel=1e-5)


def test_evaluates_the_prompted_teacher(batch):
    algorithm = finetune()
    algorithm.eval()
    for parameter in algorithm.architecture.prompts.prompts:
        torch.nn.init.normal_(parameter)
    data = dict(img=[batch["img"][:1]], img_metas=[batch["img_metas"][:1]])
    with torch.no_grad():
        prompted = algorithm(return_loss=False, rescale=True, **data)
        with algorithm.architecture.unprompted():
            bare = algorithm(return_loss=False, rescale=True, **data)
    assert len(prompted) == len(bare) == 1 and len(prompted[0]) == 3  # one array per class
    assert any((a.shape != b.shape) or (a != b).any() for a, b in zip(prompted[0], bare[0]))


def test_saves_prompts_that_know_their_teacher(batch, tmp_path):
    algorithm = finetune()
    path = str(tmp_path / "prompts.pth")
    algorithm.save_prompts(path)
    loaded = load_prompts(path, algorithm.architecture.prompts.spec)
    assert loaded.info["teacher_module"] == "neck"
    assert loaded.info["teacher_fingerprint"] == fingerprint(algorithm.architecture.model)


def test_segmentor_with_a_single_map():
    """The logits of a segmentor: one tensor instead of a tuple of levels."""
    cfg = tiny.prompt_teacher(
        model=tiny.segmentor(), module="decode_head.conv_seg", channels=5, num_levels=1
    )
    algorithm = tiny.build(dict(type="FrequencyPromptFinetune", architecture=cfg)).train()
    metas = [dict(img_shape=(64, 64, 3), ori_shape=(64, 64, 3), flip=False)] * 2
    data = dict(
        img=torch.randn(2, 3, 64, 64), img_metas=metas,
        gt_semantic_seg=torch.randint(0, 5, (2, 1, 64, 64)),
    )  # fmt: skip
    outputs = algorithm.train_step(data, None)
    outputs["loss"].backward()
    assert float(algorithm.architecture.prompts.prompts[0].grad.abs().max()) > 0
    assert "teacher.decode.loss_ce" in outputs["log_vars"]


def test_wrong_module_names_the_nearest():
    with pytest.raises(ValueError) as error:
        tiny.build(tiny.prompt_teacher(module="necks"))
    assert "architecture.module='necks'" in str(error.value) and "'neck'" in str(error.value)
    with pytest.raises(ValueError, match=r"bbox_head\.cls_convs"):
        tiny.build(tiny.prompt_teacher(module="head.cls_convs"))


def test_a_config_of_version_01_is_told_the_new_spelling():
    """As the config that a run of version 0.1 wrote in its work dir has it."""
    old = tiny.prompt_teacher(wavelet="haar", dwt_levels=2, dwt_mode="zero", gate="position")
    with pytest.raises(ValueError) as error:
        tiny.build(dict(type="FrequencyPromptFinetune", architecture=old))
    assert "transform=dict(type='haar', levels=2, mode='zero')" in str(error.value)
    new = tiny.prompt_teacher(transform=dict(type="haar", levels=2), gate=dict(type="position"))
    assert tiny.build(new).prompts.prompts[0].shape[0] == 7  # LL, and three of two levels


def test_wrong_channels_and_levels(batch):
    for wrong, words in (
        (dict(channels=16), ["architecture.channels", "(N, 16, H, W)", "(2, 8, 8, 9)"]),
        (dict(num_levels=5), ["gives 3 feature maps", "num_levels=5"]),
    ):
        algorithm = finetune(**wrong)
        with pytest.raises(ValueError) as error:
            algorithm.train_step(batch, None)
        for word in words:
            assert word in str(error.value)


def test_module_that_runs_more_than_once(batch):
    algorithm = finetune(module="bbox_head.retina_cls", channels=3, num_levels=1, gate=None)
    with pytest.raises(RuntimeError, match="ran 3 times.*tap a module"):
        algorithm.train_step(batch, None)


def test_teacher_checkpoint(tmp_path, batch):
    torch.manual_seed(3)
    bare = tiny.build(tiny.detector())
    path = str(tmp_path / "teacher.pth")
    torch.save(dict(state_dict=bare.state_dict()), path)
    algorithm = finetune(checkpoint=path)
    algorithm.init_weights()
    assert fingerprint(algorithm.architecture.model) == fingerprint(bare)

    partial = {k: v for k, v in bare.state_dict().items() if k.startswith("bbox_head")}
    torch.save(dict(state_dict=partial), path)
    with pytest.raises(RuntimeError) as error:
        finetune(checkpoint=path).init_weights()
    for word in ("architecture.checkpoint", "% of the weights", "backbone."):
        assert word in str(error.value)
    with pytest.raises(FileNotFoundError, match="architecture.checkpoint"):
        finetune(checkpoint=str(tmp_path / "none.pth")).init_weights()


@pytest.mark.parametrize("head", ["reppoints", "fcos"])
def test_heads_that_look_at_their_training_flag(batch, head):
    """The wrapped teacher's losses are those of the bare one in training mode (GN, no BN)."""
    cfg = tiny.detector()
    cfg["backbone"]["norm_cfg"] = dict(type="GN", num_groups=2)
    if head == "fcos":
        cfg.update(type="FCOS", bbox_head=dict(
            type="FCOSHead", num_classes=3, in_channels=8, feat_channels=8, stacked_convs=1,
            strides=[8, 16, 32], norm_on_bbox=True, norm_cfg=dict(type="GN", num_groups=2),
            regress_ranges=((-1, 32), (32, 64), (64, 1e8)),
        ), train_cfg=None)  # fmt: skip
    else:
        cfg.update(type="RepPointsDetector", bbox_head=dict(
            type="RepPointsHead", num_classes=3, in_channels=8, feat_channels=8, stacked_convs=1,
            point_feat_channels=8, point_strides=[8, 16, 32],
            norm_cfg=dict(type="GN", num_groups=2),
        ), train_cfg=dict(
            init=dict(assigner=dict(type="PointAssigner", scale=4, pos_num=1), allowed_border=-1,
                      pos_weight=-1, debug=False),
            refine=dict(assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4,
                                      min_pos_iou=0), allowed_border=-1, pos_weight=-1,
                        debug=False),
        ))  # fmt: skip
    wrapped = tiny.build(tiny.prompt_teacher(model=cfg)).train()  # also a type without 'mmdet.'
    with wrapped.unprompted():
        got = wrapped.model(return_loss=True, **batch)
        want = wrapped.model.train()(return_loss=True, **batch)
    assert set(got) == set(want)
    for name, value in want.items():
        torch.testing.assert_close(torch.as_tensor(got[name]), torch.as_tensor(value))


def test_a_config_path_as_model(tmp_path):
    path = tmp_path / "teacher.py"
    path.write_text(f"model = {tiny.detector()!r}\n")
    wrapped = tiny.build(tiny.prompt_teacher(model=str(path)))
    assert type(wrapped.model).__name__ == "RetinaNet"
    with pytest.raises(FileNotFoundError, match="architecture.model='none.py'"):
        tiny.build(tiny.prompt_teacher(model="none.py"))
    path.write_text("data = dict()\n")
    with pytest.raises(ValueError, match="no 'model'"):
        tiny.build(tiny.prompt_teacher(model=str(path)))
