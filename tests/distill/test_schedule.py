"""``start``, ``stop``, ``warmup`` of a term. Oracles: factors by hand, runs without a schedule."""

import copy
import json
import logging
from types import SimpleNamespace

import pytest
import tiny as models
import torch
from torch import nn

from freekd import compat

compat.apply()

from mmrazor.models.builder import LOSSES

from freekd.checks import FeatureError
from freekd.config.errors import ConfigError
from freekd.config.load import load_config
from freekd.distill.schedule import Run, Schedule, Schedules, Time, Window, read_time
from freekd.engine import hooks
from freekd.engine.train import train

LONG = Run(40)
COCO = Run(12 * 7330, 12)


# --------------------------------------------------------------------------- when, by hand
@pytest.mark.parametrize(
    ("value", "time"),
    [
        (None, None), (0, Time(0)), (8, Time(8)), ("8 epochs", Time(8, "epochs")),
        ("1 epoch", Time(1, "epochs")), ("500iters", Time(500, "iterations")),
        (" 500 Iterations ", Time(500, "iterations")), ("1 iter", Time(1, "iterations")),
    ],
)  # fmt: skip
def test_what_a_time_may_be(value, time):
    assert read_time(value, "key") == time


@pytest.mark.parametrize(
    "value",
    [-1, 1.0, True, False, "", "8", "e", "-3 iters", "1.5 epochs", "3 days", [3], dict(iter=3),
     10**10, 10**5000, "99999999999 iters", "٣ iters", "3 epochs 2 iters"],
    ids=lambda value: repr(value) if value is True or not isinstance(value, int) else "int",
)  # fmt: skip
def test_what_a_time_may_not_be(value):
    with pytest.raises(ValueError, match="pair.losses.x.stop: expected an integer.* '500 iters'"):
        read_time(value, "pair.losses.x.stop")


@pytest.mark.parametrize(
    ("options", "run", "factors"),
    [
        (dict(start=3), LONG, {0: 0, 2: 0, 3: 1, 39: 1}),
        (dict(stop=3), LONG, {0: 1, 2: 1, 3: 0, 39: 0}),
        (dict(warmup=4), LONG, {0: 1 / 4, 1: 2 / 4, 2: 3 / 4, 3: 1, 39: 1}),
        (dict(warmup=1), LONG, {0: 1, 1: 1}),
        (dict(start=2, stop=7, warmup=5), LONG, {1: 0, 2: 1 / 5, 6: 1, 7: 0}),
        (dict(start=1, stop=10), COCO, {7329: 0, 7330: 1, 73299: 1, 73300: 0}),
        (dict(start="1 epochs", warmup="500 iters"), COCO,
         {7329: 0, 7330: 1 / 500, 7579: 1 / 2, 7829: 1, 9000: 1}),
        (dict(start="100 iters", stop="9 epochs"), COCO, {99: 0, 100: 1, 65969: 1, 65970: 0}),
        (dict(warmup=1), COCO, {0: 1 / 7330, 7329: 1}),
    ],
)  # fmt: skip
def test_factors_by_hand(options, run, factors):
    window = Schedule.read(options, "x").window(run)
    assert {t: window.factor(t) for t in factors} == factors


@pytest.mark.parametrize(
    ("options", "run", "words"),
    [
        (dict(start=5, stop=5), None, ["x.stop=5", "after start=5", "x=None"]),
        (dict(stop=0), None, ["x.stop=0", "after start=0"]),
        (dict(start="5 iters", stop="3 iters"), None, ["x.stop='3 iterations'"]),
        (dict(start=2, stop=5, warmup=4), None, ["x.warmup=4", "start=2 to stop=5"]),
        (dict(start="8000 iters", stop=1), COCO, ["x.stop=1", "start='8000 iterations'"]),
        (dict(stop=1, warmup="7331 iters"), COCO, ["x.warmup='7331 iterations'", "stop=1"]),
        (dict(warmup=1, stop="8 iters"), COCO,
         ["x.warmup=1:", "stop='8 iterations'", "counts epochs here; write '1 iters'"]),
        (dict(start=1, stop="8 iters"), COCO, ["x.stop='8 iterations'", "write '1 iters'"]),
        (dict(start=12), COCO, ["x.start=12", "12 epochs of 7330 iterations", "'12 iters'"]),
        (dict(start=40), LONG, ["x.start=40", "40 iterations", "never act"]),
        (dict(warmup=500), COCO, ["x.warmup=500", "12 epochs", "write '500 iters'"]),
        (dict(start=20, warmup=21), LONG, ["x.warmup=21 from start=20", "40 iterations"]),
        (dict(stop="8 epochs"), LONG, ["x.stop='8 epochs'", "knows no epochs", "stop=<integer>"]),
    ],
)  # fmt: skip
def test_what_a_schedule_may_not_be(options, run, words):
    """Within one unit it is found when the config is read, else when the run's length is known."""
    with pytest.raises(ValueError) as error:
        schedule = Schedule.read(options, "x")
        assert run is not None
        schedule.window(run)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_stop_after_the_end_is_a_warning():
    schedules = Schedules()
    schedules.add("loss_x", Schedule.read(dict(stop=9000), "x"))
    (note,) = schedules.prepare(COCO)
    assert "x.stop=9000" in note and "12 epochs" in note and "'9000 iters'" in note
    assert schedules.told("loss_x") == "acts in iterations 1 to 87960 of 87960"
    assert schedules.idle(["loss_x"]) is None


def test_where_no_term_acts():
    schedules = Schedules()
    for name, options in (("a", dict(stop=5)), ("b", dict(start=5, stop=8)), ("c", dict(start=2))):
        schedules.add(name, Schedule.read(options, name))
    schedules.prepare(LONG)
    assert schedules.idle(["a", "b"]) == 8 and schedules.idle(["b"]) == 0
    assert schedules.idle(["a", "c"]) is None and schedules.idle(["a", "b", "always"]) is None
    assert schedules.changes(0) == [] and schedules.changes(4) == []
    assert schedules.changes(5) == [
        "a acts no longer from this iteration on", "b acts from this iteration on",
    ]  # fmt: skip
    assert Window(0, 3, 2).factor(0) == 0.5


# --------------------------------------------------------------------------- a step
SEEN = []


@LOSSES.register_module()
class ScheduledLoss(nn.Module):
    """With parameters, a buffer that counts, random numbers, and a factor of the task loss."""

    def __init__(self, loss_weight=2.0, scale=1.0, wrong=False):
        super().__init__()
        self.loss_weight, self.task_scale, self.wrong = loss_weight, scale, wrong
        self.layer = nn.Conv2d(8, 8, 1)
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def forward(self, student, teacher):
        SEEN.append(self.count.item())
        self.count += 1
        if self.wrong:
            raise TypeError("it does not fit")
        noise = torch.rand_like(student)
        return self.loss_weight * (self.layer(student) - teacher - 1e-3 * noise).square().mean()


@LOSSES.register_module()
class OwnStartLoss(nn.Module):
    """Has an argument of the name that every entry has."""

    def __init__(self, start=1):
        super().__init__()

    def forward(self, student, teacher):
        return (student - teacher).abs().mean()


MIMIC = dict(type="FeatureMSELoss", name="loss_mimic", student_channels=8, teacher_channels=8,
             num_levels=3, loss_weight=3.0)  # fmt: skip
OWN = dict(type="ScheduledLoss", name="loss_own")


def algorithm(*losses, run=LONG, module="neck.fpn_convs.0.conv", **component):
    cfg = models.distill([models.freekd_loss()])
    cfg["distiller"]["components"] = [
        dict(
            student_module=module if loss["type"] == "ScheduledLoss" else "neck",
            teacher_module=module if loss["type"] == "ScheduledLoss" else "neck",
            losses=[dict(loss)],
            **component,
        )
        for loss in losses
    ]
    torch.manual_seed(0)
    model = models.build(cfg).train()
    hooks.prepare_schedules(model, run.iterations, run.epochs)
    return model


def step(model, batch, iteration=None):
    """The log and the gradients of an iteration."""
    if iteration is not None:
        model.distiller.schedules.tell(iteration)
    torch.manual_seed(7)
    model.zero_grad(set_to_none=True)
    outputs = model.train_step(copy.deepcopy(batch), None)
    outputs["loss"].backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    return outputs["log_vars"], {k: None if g is None else g.clone() for k, g in grads.items()}


def same(one, two):
    assert one.keys() == two.keys()
    other = [k for k in one if (one[k] is None) != (two[k] is None)]
    other += [k for k in one if one[k] is not None and k not in other
              and not torch.equal(one[k], two[k])]  # fmt: skip
    assert not other, other


def test_start_0_is_no_schedule(batch):
    plain, scheduled = algorithm(MIMIC, OWN), algorithm(dict(MIMIC, start=0), dict(OWN, start=0))
    one, two = step(plain, batch), step(scheduled, batch, 0)
    same(one[1], two[1])
    assert {k: v for k, v in two[0].items() if not k.startswith("weight.")} == one[0]
    assert (two[0]["weight.mimic"], two[0]["weight.own"]) == (3.0, 2.0)
    assert not any(name.startswith("weight.") for name in one[0])


@pytest.mark.parametrize(("iteration", "factor"), [(0, 0.25), (2, 0.75), (9, 1)])
def test_a_rising_term_is_the_weight_times_the_factor(batch, iteration, factor):
    lighter = algorithm(dict(MIMIC, loss_weight=3.0 * factor))
    risen = algorithm(dict(MIMIC, warmup=4))
    (log, grads), (wanted, expected) = step(risen, batch, iteration), step(lighter, batch)
    assert log["weight.mimic"] == 3.0 * factor
    for name in ("distiller.loss_mimic.0", "ratio.mimic", "student.loss_cls", "loss"):
        assert log[name] == pytest.approx(wanted[name], rel=1e-6)
    for name, grad in grads.items():
        assert torch.allclose(grad, expected[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("iteration", [2, 5])
def test_outside_its_time_a_term_is_nothing_and_the_teacher_does_not_run(batch, iteration):
    model = algorithm(dict(MIMIC, start=3, stop=5), dict(OWN, start=3, stop=5))
    calls, teacher = [], model.distiller.teacher
    teacher.backbone.register_forward_hook(lambda *_: calls.append(1))
    model.distiller.tried = True  # as after the first step
    SEEN.clear()
    log, grads = step(model, batch, iteration)
    assert not calls and not SEEN
    for name in ("distiller.loss_mimic.0", "ratio.mimic", "weight.mimic", "ratio.own"):
        assert log[name] == 0.0
    student = {k: g for k, g in grads.items() if k.startswith("architecture.")}
    bare = algorithm(MIMIC).architecture
    bare.load_state_dict(model.architecture.state_dict())
    losses = bare(**copy.deepcopy(batch))
    loss = sum(sum(v) for k, v in losses.items() if "loss" in k)
    loss.backward()
    assert log["loss"] == pytest.approx(loss.item(), rel=1e-6)
    same(student, {f"architecture.{k}": p.grad for k, p in bare.named_parameters()})
    # what the loss learns has a gradient of 0, and no state of it moves
    own = [g for k, g in grads.items() if k.startswith("distiller.losses.loss_own")]
    assert len(own) == 2 and all(g is not None and not g.any() for g in own)
    assert model.distiller.losses["loss_own"].count == 0
    step(model, batch, 4)
    assert calls == [1]


def test_one_term_outside_its_time_leaves_the_other(batch):
    both, alone = algorithm(MIMIC, dict(OWN, stop=2)), algorithm(MIMIC)
    (log, grads), (wanted, expected) = step(both, batch, 2), step(alone, batch)
    assert log["distiller.loss_own.0"] == 0 == log["weight.own"]
    assert log["loss"] == wanted["loss"] and "weight.mimic" not in log
    same({k: g for k, g in grads.items() if k in expected}, expected)


def test_calls_of_a_head_are_counted_without_the_teacher(batch):
    """The class layer runs for each of three levels: three columns, as while the term acts."""
    losses = [dict(type="ChannelWiseDivergence", name="loss_cwd", start=3)]
    cfg = models.distill(losses, module="bbox_head.retina_cls")
    model = models.build(cfg).train()
    hooks.prepare_schedules(model, 40)
    model.distiller.tried = True
    logs = [step(model, batch, t)[0] for t in (0, 3)]
    assert list(logs[0]) == list(logs[1]) and "distiller.loss_cwd.2" in logs[0]
    assert logs[0]["distiller.loss_cwd.2"] == 0 < logs[1]["distiller.loss_cwd.2"]


# --------------------------------------------------------------------------- the first step
def test_a_term_that_starts_later_is_tried_in_the_first_step(batch):
    model = algorithm(dict(OWN, start=3, wrong=True))
    with pytest.raises(FeatureError, match="loss_own cannot compare .*it does not fit"):
        step(model, batch, 0)
    stopped = algorithm(dict(OWN, stop=3, wrong=True))  # its time is over
    assert step(stopped, batch, 3)[0]["distiller.loss_own.0"] == 0


def test_the_trial_leaves_no_trace(batch):
    """Gradients, buffers and the numbers that a later term draws are as without it."""
    SEEN.clear()
    later = dict(OWN, name="loss_later", start=3)
    model = algorithm(dict(OWN, start=3), OWN | dict(name="loss_now"), later)
    first = step(model, batch, 0)
    assert SEEN == [0, 0, 0] and model.distiller.losses["loss_later"].count == 0
    model.distiller.losses["loss_now"].count.zero_()
    second = step(model, batch, 1)
    assert SEEN == [0, 0, 0, 0] and first[0] == second[0]
    same(first[1], second[1])


# --------------------------------------------------------------------------- more of a step
@pytest.mark.parametrize(
    ("iteration", "scale"), [(0, 1.0), (2, 1 - 0.25 * 0.75), (4, 1 - 0.75 * 0.75), (5, 0.25)]
)
def test_the_task_is_scaled_as_far_as_the_term_acts(batch, iteration, scale):
    """Factors of the term 0, 1/4, 3/4, 1; of the task 1 - f (1 - 1/4)."""
    model = algorithm(dict(OWN, scale=0.25, start=2, warmup=4))
    plain, _ = step(algorithm(OWN), batch)
    log, _ = step(model, batch, iteration)
    for name in ("student.loss_cls", "student.loss_bbox"):
        assert log[name] == pytest.approx(scale * plain[name], rel=1e-5)


def test_low_precision_is_widened(batch, monkeypatch):
    """1000 x 1/3 in bfloat16 would be 334."""
    model = algorithm(dict(OWN, warmup=3))
    loss = model.distiller.losses["loss_own"]
    monkeypatch.setattr(
        loss, "forward", lambda s, t: s.sum().to(torch.bfloat16) * 0 + s.new_tensor(1000).bfloat16()
    )
    term = step(model, batch, 0)[0]["distiller.loss_own.0"]
    assert term == pytest.approx(1000 / 3, rel=1e-6)


def test_every_parameter_has_a_gradient_on_several_processes(batch, tmp_path):
    """torch's DDP refuses the step after one in which a parameter took no part."""
    from mmcv.parallel import MMDistributedDataParallel

    align = dict(type="conv2d", student_channels=8, teacher_channels=8)
    model = algorithm(dict(OWN, start=1, stop=2), align_module=align)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        wrapped = MMDistributedDataParallel(model, broadcast_buffers=False)
        for iteration in (0, 1, 2, 3):
            model.distiller.schedules.tell(iteration)
            wrapped.train_step(copy.deepcopy(batch), None)["loss"].backward()
            learned = [p for p in model.distiller.parameters() if p.requires_grad]
            assert len(learned) == 4 and all(p.grad is not None for p in learned)
            assert bool(learned[0].grad.any()) == (iteration == 1)
            wrapped.zero_grad()
    finally:
        torch.distributed.destroy_process_group()


def test_nobody_has_said_which_iteration_it_is(batch):
    with pytest.raises(RuntimeError, match=r"components\[0\].losses\[0\] has.*DistillScheduleHook"):
        step(algorithm(dict(MIMIC, stop=3)), batch)


def test_the_hook_alone_is_enough_for_another_program(batch):
    model = algorithm(dict(MIMIC, stop=1), run=LONG)
    runner = SimpleNamespace(
        model=SimpleNamespace(module=model), iter=0, max_iters=8, max_epochs=2,
        logger=logging.getLogger("quiet"),
    )  # fmt: skip
    hook = hooks.DistillScheduleHook()
    hook.before_run(runner)
    weights = []
    for runner.iter in (3, 4):  # epochs of 4 iterations
        hook.before_train_iter(runner)
        weights.append(model.distiller.weights_in_force()["loss_mimic"])
    assert weights == [3.0, 0.0]
    runner.model = algorithm(MIMIC)  # no schedule: nothing to do
    hook.before_run(runner)
    hook.before_train_iter(runner)


def test_a_student_without_task_loss_wants_a_term_at_any_time():
    model = algorithm(dict(MIMIC, stop=3))
    model.with_student_loss = False
    with pytest.raises(ConfigError, match="with_student_loss=False: .* in iteration 4"):
        hooks.prepare_schedules(model, 40)
    hooks.prepare_schedules(model, 3)


# --------------------------------------------------------------------------- configs
def test_an_argument_of_the_same_name_is_refused():
    cfg = models.distill([dict(type="OwnStartLoss", name="loss_x", start=-0.5)])
    with pytest.raises(ValueError, match=r"components\[0\].losses\[0\].start: every entry has"):
        models.build(cfg)
    models.build(models.distill([dict(type="OwnStartLoss", name="loss_x")]))


def test_none_is_no_schedule_in_the_long_form():
    model = models.build(models.distill([dict(MIMIC, start=None, stop=None, warmup=None)]))
    assert not model.distiller.schedules


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (dict(MIMIC, start=-1), "components[0].losses[0].start: expected an integer"),
        (dict(MIMIC, start=2, stop=1), "components[0].losses[0].stop=1"),
    ],
)
def test_the_long_form_says_which_key(loss, words):
    with pytest.raises(ValueError) as error:
        models.build(models.distill([loss]))
    assert words in str(error.value)


def write_pair(folder, **losses):
    path = folder / "pair.py"
    path.write_text(
        f"pair = dict(teacher={models.detector()!r}, student={models.detector()!r}, "
        f"losses={losses!r})\n"
    )
    return str(path)


def test_entries_of_every_kind_take_times(tmp_path):
    own = dict(type="ScheduledLoss", module="neck.fpn_convs.0.conv", warmup="5 iters")
    foreign = dict(type="mmdet.L1Loss", module="bbox_head.retina_reg", stop="2 epochs", start=None)
    path = write_pair(tmp_path, mimic=dict(start=1, stop=7), own=own, foreign=foreign)
    cfg = load_config(path, {"pair.losses.mimic.stop": 6})
    losses = [component.losses[0] for component in cfg.algorithm.distiller.components]
    assert (losses[0].start, losses[0].stop) == (1, 6) and "warmup" not in losses[0]
    assert losses[1].warmup == "5 iters" and losses[2].stop == "2 epochs"
    assert "start" not in losses[2]
    model = models.build(cfg.algorithm)
    assert list(model.distiller.schedules) == ["loss_mimic", "loss_own", "loss_foreign"]
    with pytest.raises(ConfigError, match="pair.losses.mimic.stop='9 epochs'.*knows no epochs"):
        cfg = load_config(path, {"pair.losses.mimic.start": None,
                                 "pair.losses.mimic.stop": "9 epochs"})  # fmt: skip
        hooks.prepare_schedules(models.build(cfg.algorithm), 40)


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (dict(mimic=dict(start=2.0)), "pair.losses.mimic.start: expected an integer"),
        (dict(mimic=dict(warmup=True)), "pair.losses.mimic.warmup: expected an integer"),
        (dict(mimic=dict(start=3, stop=2)), "pair.losses.mimic.stop=2: expected a time after"),
        (dict(mimic=dict(stop=0)), "leave the entry out: pair.losses.mimic=None."),
        (dict(mimic=dict(begin=2)), "unknown keys ['begin']"),
        (dict(x=dict(type="OwnStartLoss", module="neck", start=2)), "pair.losses.x.start: every"),
    ],
)
def test_what_an_entry_may_not_be(tmp_path, losses, words):
    with pytest.raises(ConfigError) as error:
        load_config(write_pair(tmp_path, **losses))
    assert words in str(error.value) and str(error.value).count("Correct") < 2


# --------------------------------------------------------------------------- runs
PAIR = """
student = dict(model, type="mmdet.RetinaNet")
model = None
pair = dict(teacher=student, student=student, losses=dict(
    mimic=dict(loss_weight=0.5, start=1, stop=5, warmup=3),
    own=dict(type="ScheduledLoss", module="neck.fpn_convs.0.conv", start=4)))
log_config = dict(interval=1, hooks=[dict(type="TextLoggerHook")])
"""
EPOCHS = """
pair["losses"] = dict(mimic=dict(loss_weight=0.5, start=1, warmup="2 iters"))
"""


def run(config, folder, **keys):
    cfg = load_config(config)
    cfg.update(work_dir=str(folder), device="cpu", seed=3, log_level="INFO", **keys)
    train(cfg, validate=False)
    (log,) = folder.glob("*.log.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if line.get("mode") == "train"]


def weights(path):
    return torch.load(str(path), weights_only=True)["state_dict"]


def test_a_resumed_run_has_the_right_weight(tiny, tmp_path):
    """Six iterations; resumed after three, in the middle of the rise, before the second starts."""
    config = tiny.config("schedule", "iterations", extra=PAIR)
    whole = run(config, tmp_path / "whole")
    thirds = [0, 0.5 / 3, 1 / 3, 0.5, 0.5, 0]
    assert [line["weight.mimic"] for line in whole] == pytest.approx(thirds, abs=1e-5)
    assert [line["weight.own"] for line in whole] == [0, 0, 0, 0, 2, 2]
    assert [line["distiller.loss_mimic.0"] > 0 for line in whole] == [w > 0 for w in thirds]
    rest = run(config, tmp_path / "rest", resume_from=str(tmp_path / "whole" / "iter_3.pth"))
    for line, wanted in zip(rest, whole[3:]):
        for name in ("loss", "weight.mimic", "weight.own", "ratio.mimic"):
            assert line[name] == wanted[name], name
    one, two = (weights(tmp_path / name / "iter_6.pth") for name in ("whole", "rest"))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    (text,) = (tmp_path / "rest").glob("*.log")
    said = text.read_text()
    assert "loss_mimic acts in iterations 2 to 5 of 6, its weight rising over the first 3" in said
    assert "loss_own acts from this iteration on" in said
    assert "loss_mimic acts no longer from this iteration on" in said


def test_epochs_are_the_runners(tiny, tmp_path):
    """Two epochs of four iterations: the second distils, its first iteration with half."""
    config = tiny.config("schedule_epochs", "epochs", extra=PAIR + EPOCHS)
    whole = run(config, tmp_path / "whole")
    assert [line["weight.mimic"] for line in whole] == [0, 0, 0, 0, 0.25, 0.5, 0.5, 0.5]
    rest = run(config, tmp_path / "rest", resume_from=str(tmp_path / "whole" / "epoch_1.pth"))
    assert [line["weight.mimic"] for line in rest] == [0.25, 0.5, 0.5, 0.5]
    assert [line["loss"] for line in rest] == [line["loss"] for line in whole[4:]]


# --------------------------------------------------------------------------- the doctor
def test_the_doctor_measures_the_whole_weight_and_says_when(tiny):
    from freekd.doctor import examine

    def look(**options):
        cfg = load_config(config, options)
        cfg.device, cfg.seed = "cpu", 0
        return examine(cfg)

    config = tiny.config("schedule_doctor", "epochs", extra=PAIR + EPOCHS)
    keys = {f"pair.losses.mimic.{name}": None for name in ("start", "warmup")}
    plain, scheduled = look(**keys), look(**{"pair.losses.mimic.stop": 9})
    one, two = (report.record["terms"]["loss_mimic"] for report in (plain, scheduled))
    acts = two.pop("acts")
    assert one == two and one["ratio"] > 0
    assert acts == "acts in iterations 5 to 8 of 8, its weight rising over the first 2"
    assert f"loss_mimic {acts}; it is measured at its whole weight." in scheduled.text()
    assert any("mimic.stop=9" in note for note in scheduled.notes)
    assert not any("teaches nothing" in problem.what for problem in scheduled.problems)
    with pytest.raises(ConfigError, match="mimic.start=2: the run has 2 epochs"):
        look(**{"pair.losses.mimic.start": 2})
