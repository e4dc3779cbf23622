"""``levels``: a teacher of four maps teaches a student of three. Oracle: maps picked by hand."""

import copy

import pytest
import tiny
import torch

from freekd.checks import FeatureError
from freekd.config import load
from freekd.config.errors import ConfigError
from freekd.distill.run.levels import choose
from freekd.prompts.file import load_prompts
from freekd.prompts.reconstruction import masked_reconstruction

CHOSEN = [1, 2, 3]
MAPS = dict(student_channels=8, teacher_channels=8, num_levels=3)
LOSSES = {  # by methods, and MMRazor's own class, which knows nothing of levels
    "freekd": dict(type="FreeKDLoss", name="loss_a", **MAPS),
    "mimic": dict(type="FeatureMSELoss", name="loss_a", **MAPS),
    "cwd": dict(type="CWDLoss", name="loss_a", **MAPS),
    "of_others": dict(type="ChannelWiseDivergence", name="loss_a"),
}


def teacher_of_four():
    """RetinaNet with maps of strides 4, 8, 16 and 32."""
    cfg = copy.deepcopy(tiny.detector(base_channels=8))
    cfg["neck"].update(start_level=0, num_outs=4)
    cfg["bbox_head"]["anchor_generator"]["strides"] = [4, 8, 16, 32]
    return cfg


def algorithm(loss, levels=dict(teacher=CHOSEN)):  # noqa: B006 (never changed)
    torch.manual_seed(0)
    component = dict(student_module="neck", teacher_module="neck", losses=[loss], levels=levels)
    return tiny.build(
        dict(
            type="FreeKDDistill",
            architecture=dict(type="MMDetArchitecture", model=tiny.detector()),
            distiller=dict(
                type="FreeKDDistiller", teacher=teacher_of_four(), components=[component]
            ),
        )
    )


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_gets_the_chosen_maps(name):
    model = algorithm(LOSSES[name]).train()
    assert len(model.distiller.check_shapes(model.architecture.model)["loss_a"]) == 3
    data = tiny.batch()
    with torch.no_grad():
        log = model.train_step(data, None)["log_vars"]
        student = model.architecture.model.extract_feat(data["img"])
        teacher = model.distiller.teacher.extract_feat(data["img"])[1:]
        loss = model.distiller.losses["loss_a"]
        if name == "of_others":
            expected = sum(loss(s, t) for s, t in zip(student, teacher))
        else:
            expected = loss(student, teacher)
    found = sum(value for key, value in log.items() if "loss_a" in key)
    assert found == pytest.approx(float(expected), rel=1e-5) and found > 0


def test_levels_of_both_sides():
    loss = dict(LOSSES["freekd"], num_levels=2)
    model = algorithm(loss, dict(student=[0, 2], teacher=[1, 3])).train()
    lines = model.distiller.check_shapes(model.architecture.model)["loss_a"]
    assert lines == [f"(1, 8, {n}, {n}) (1, 8, {n}, {n})" for n in (16, 4)]


def test_maps_of_a_sequence():
    """Tokens (L, N, C) of 4x4, 2x2 and 1x1 positions."""
    tokens = torch.randn(21, 2, 8)
    found = choose(tokens, [(4, 4), (2, 2), (1, 1)], [0, 2], "encoder")
    assert torch.equal(found[0], tokens[:16].permute(1, 2, 0).reshape(2, 8, 4, 4))
    assert torch.equal(found[1], tokens[20:].permute(1, 2, 0).reshape(2, 8, 1, 1))


def test_a_map_that_is_not_there_is_refused_before_training():
    model = algorithm(LOSSES["freekd"], dict(teacher=[1, 2, 4]))
    with pytest.raises(FeatureError, match=r"the maps \[1, 2, 4\], but .* gives \[0, 1, 2, 3\]"):
        model.distiller.check_shapes(model.architecture.model)


@pytest.mark.parametrize("wrong", [[1, 2], dict(pupil=[1]), dict(teacher=[2, 1]), dict(teacher=[])])
def test_wrong_levels_of_a_component(wrong):
    with pytest.raises(ValueError, match=r"components\[0\]\.levels.* got"):
        algorithm(LOSSES["freekd"], wrong)


# --------------------------------------------------------------------------- stage 1, prompt files
def prompt_teacher(**kwargs):
    cfg = dict(tiny.prompt_teacher(model=teacher_of_four(), gate=None, levels=CHOSEN), **kwargs)
    return tiny.build(cfg).eval()


def test_other_maps_pass_unmasked():
    wrapped = prompt_teacher()
    for parameter in wrapped.prompts.prompts:
        torch.nn.init.normal_(parameter)
    img = tiny.batch()["img"]
    with torch.no_grad(), wrapped.unprompted():
        plain = wrapped.model.extract_feat(img)
    with torch.no_grad():
        masked = wrapped.model.extract_feat(img)
    assert torch.equal(masked[0], plain[0]) and len(masked) == 4
    for out, feat, prompt in zip(masked[1:], plain[1:], wrapped.prompts.prompts):
        assert torch.equal(out, masked_reconstruction(feat, prompt)[0])


@pytest.mark.parametrize(
    ("levels", "says"),
    [
        ([1, 2], r"architecture\.levels=\[1, 2\]: expected 3 of them"),
        ([1, 2, 5], r"the maps \[1, 2, 5\], but the module gives \[0, 1, 2, 3\]"),
        ([3, 2, 1], r"architecture\.levels must be a list"),
    ],
)
def test_wrong_levels_of_prompts(levels, says):
    with pytest.raises(ValueError, match=says):
        prompt_teacher(levels=levels).model.extract_feat(tiny.batch()["img"])


def test_the_prompt_file_remembers_its_maps(tmp_path):
    path = str(tmp_path / "prompts.pth")
    torch.manual_seed(0)
    prompts = tiny.build(
        dict(
            type="FrequencyPromptFinetune",
            architecture=tiny.prompt_teacher(model=teacher_of_four(), gate=None, levels=CHOSEN),
        )
    )
    prompts.save_prompts(path)
    assert load_prompts(path).info["levels"] == CHOSEN
    loss = dict(LOSSES["freekd"], prompts=path)

    def ready(levels):
        model = algorithm(loss, levels)
        model.distiller.teacher.load_state_dict(prompts.architecture.model.state_dict())
        model.distiller.check_ready()

    ready(dict(teacher=CHOSEN))
    with pytest.raises(ValueError, match=r"the teacher's maps \[1, 2, 3\], .* \[0, 1, 2\]"):
        ready(dict(teacher=[0, 1, 2]))
    fewer = dict(loss, num_levels=2)
    with pytest.raises(ValueError, match=r"num_levels: the config says 2, .*the maps \[1, 2, 3\]"):
        algorithm(fewer, dict(student=[0, 1], teacher=[1, 2]))


# --------------------------------------------------------------------------- short configs
def pair_of(tmp_path, options=None, **keys):
    pair = dict(
        teacher=teacher_of_four(), student=tiny.detector(),
        losses=dict(
            freekd=dict(), cwd=dict(), mine=dict(type="ChannelWiseDivergence", module="neck"),
        ),
        **keys,
    )  # fmt: skip
    path = tmp_path / "pair.py"
    path.write_text(f"pair = {pair!r}\n")
    return load.load_config(str(path), options)


def test_the_levels_of_a_pair_reach_every_loss_of_maps(tmp_path):
    cfg = pair_of(tmp_path, levels=CHOSEN)  # a list: the teacher's
    for component in cfg.algorithm.distiller.components:
        assert component.levels == dict(teacher=CHOSEN)
    for component in cfg.algorithm.distiller.components[:2]:
        assert component.losses[0].num_levels == 3
    own = {"pair.losses.cwd.levels": dict(student=[0], teacher=[1])}
    components = pair_of(tmp_path, own, levels=CHOSEN).algorithm.distiller.components
    assert [len(one.levels["teacher"]) for one in components] == [3, 1, 3]
    assert components[1].losses[0].num_levels == 1


@pytest.mark.parametrize(
    ("levels", "says"),
    [
        (dict(teacher=[1, 2, 4]), r"pair\.levels .*\[1, 2, 4\], .* \[0, 1, 2, 3\]"),
        (dict(student=[0, 3], teacher=[0, 1]), r"pair\.levels .*\[0, 3\], .* \[0, 1, 2\]"),
        ([1, 2], r"pair\.levels: the student's maps \[0, 1, 2\] and the teacher's \[1, 2\]"),
        ("all", r"pair\.levels: expected"),
        ([0, True], r"pair\.levels\[1\]: expected"),
        (dict(student=[0], assistant=[1]), r"pair\.levels: expected"),
    ],
)
def test_wrong_levels_of_a_pair(tmp_path, levels, says):
    with pytest.raises(ConfigError, match=says):
        pair_of(tmp_path, levels=levels)


def test_levels_of_prompts_in_short(tmp_path):
    path = tmp_path / "prompt.py"
    path.write_text(f"prompt = dict(teacher={teacher_of_four()!r}, levels={CHOSEN})\n")
    architecture = load.load_config(str(path)).algorithm.architecture
    assert (architecture.num_levels, architecture.levels) == (3, CHOSEN)
    with pytest.raises(ConfigError, match=r"prompt\.levels.*\[1, 4\], .* \[0, 1, 2, 3\]"):
        load.load_config(str(path), {"prompt.levels": [1, 4]})
