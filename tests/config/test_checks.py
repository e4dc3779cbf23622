"""A config that cannot be run says which key, what was expected, what came, and what to do."""

import pytest
import torch

from freekd import compat

compat.apply()

from freekd.config import checks
from freekd.config.checks import check_config, check_schedule
from freekd.config.load import ConfigError, load_config
from freekd.engine import build, datasets, friendly, launch
from freekd.engine.optimizers import build_optimizer
from freekd.engine.train import main


@pytest.fixture
def cfg(tiny):
    return load_config(tiny.config("setup"))


def test_task_by_registry(tiny, cfg):
    assert check_config(cfg, ("train", "val")) == "det"
    assert check_config(load_config(tiny.config("setup_d", distill=True))) == "det"
    cfg.model = dict(type="mmseg.EncoderDecoder")
    assert checks.decide_task(cfg) == "seg"
    cfg.model = dict(type="Unheard", teacher=dict(type="mmdet.FCOS"))
    assert checks.decide_task(cfg) == "det"
    cfg.task = "seg"
    assert checks.decide_task(cfg) == "seg"


def test_errors_of_the_task(cfg):
    cfg.model = dict(type="Unheard")
    with pytest.raises(ConfigError, match="type 'Unheard' is in none.*task='det'"):
        check_config(cfg)
    for task in ("pose", ["det"]):
        cfg.task = task
        with pytest.raises(
            ConfigError, match=r"task: expected one of \('det', 'seg', 'cls'\), got"
        ):
            check_config(cfg)


def test_neither_or_both_of_model_and_algorithm(cfg):
    cfg.algorithm = dict(type="GeneralDistill")
    with pytest.raises(ConfigError, match="exactly one .* 'model' .* 'algorithm' .* found both"):
        check_config(cfg)
    cfg.model = cfg.algorithm = None
    with pytest.raises(ConfigError, match="found neither"):
        check_config(cfg)


def test_missing_data(cfg):
    del cfg.data["val"]
    with pytest.raises(ConfigError, match="config key data.val with a dataset, found none"):
        check_config(cfg, ("train", "val"))
    cfg.data.train.ann_file = "/no/such/ann.json"
    with pytest.raises(ConfigError, match="data.train.ann_file: expected .* /no/such/ann.json"):
        check_config(cfg)
    cfg.data_help = "Run: python tools/make_digits.py"
    with pytest.raises(ConfigError, match="Run: python tools/make_digits.py"):
        check_config(cfg)
    cfg.data.train = dict(type="RepeatDataset", times=2, dataset=cfg.data.train)
    with pytest.raises(ConfigError, match="data.train.dataset.ann_file: expected"):
        check_config(cfg)
    cfg.data = None
    with pytest.raises(ConfigError, match="config key 'data' with the datasets, found none"):
        check_config(cfg)


def test_schedule(cfg):
    assert check_schedule(cfg) is True and cfg.checkpoint_config.by_epoch is True
    cfg.checkpoint_config = dict(interval=1, by_epoch=False)
    with pytest.raises(ConfigError, match="checkpoint_config.by_epoch: expected True.*got False"):
        check_schedule(cfg)
    cfg.checkpoint_config = None
    cfg.workflow = [("train", 1), ("val", 1)]
    with pytest.raises(ConfigError, match=r"workflow: expected \[\('train', 1\)\]"):
        check_schedule(cfg)
    cfg.workflow = None
    cfg.runner = dict(type="EpochBasedRunner")
    with pytest.raises(ConfigError, match="runner: expected max_epochs"):
        check_schedule(cfg)
    cfg.runner = None
    with pytest.raises(ConfigError, match="config key 'runner', found none"):
        check_schedule(cfg)
    cfg.total_epochs = 3
    assert check_schedule(cfg) is True and cfg.runner.max_epochs == 3
    cfg.optimizer = None
    with pytest.raises(ConfigError, match="config key 'optimizer', found none"):
        check_schedule(cfg)


def test_config_file_and_options(tiny, tmp_path):
    (tmp_path / "retinanet.py").write_text("a = 1")
    with pytest.raises(ConfigError, match="found none; the nearest names in .* retinanet.py"):
        load_config(str(tmp_path / "retinanett.py"))
    with pytest.raises(ConfigError, match="no 'optimiser'. Nearest: optimizer"):
        load_config(tiny.config("setup"), {"optimiser.lr": 1})
    assert load_config(tiny.config("setup"), {"optimizer.lr": 1}).optimizer.lr == 1


def test_what_cannot_be_built(tiny, cfg):
    cfg.model.bbox_head.num_klasses = 2
    with pytest.raises(ConfigError, match="cannot be built .*RetinaHead.*num_klasses"):
        build.build_model(cfg, "det")
    cfg.model.bbox_head.type = "RetinaHed"
    with pytest.raises(ConfigError, match="RetinaHed is not in the models registry"):
        build.build_model(cfg, "det")
    cfg.data.train.type = "Coco"
    with pytest.raises(ConfigError, match="The dataset cannot be built .*Coco is not in"):
        datasets.build_dataset(cfg.data.train, "det")
    with pytest.raises(ConfigError, match="optimizer .*Adamm"):
        build_optimizer(torch.nn.Linear(1, 1), dict(type="Adamm", lr=1), "det")


def test_launching(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    with launch.process_group("none") as distributed:
        assert distributed is False
    with pytest.raises(ConfigError, match="torchrun's variables.*tools/dist_train.sh"):
        launch._init_processes("pytorch")
    with pytest.raises(ConfigError, match="slurm's variables.*tools/slurm_train.sh"):
        launch._init_processes("slurm")
    with pytest.raises(ConfigError, match="expected 'cpu' or 'cuda', got 'tpu'"):
        launch.choose_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert launch.choose_device(None) == "cpu"
    with pytest.raises(ConfigError, match="torch sees none. Use --device cpu"):
        launch.choose_device("cuda")


def test_errors_are_one_line_for_the_user(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FREEKD_DEBUG", raising=False)
    config = tiny.config("line", extra="task = 'pose'\n")
    assert main([config, "--work-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: task: expected one of")
    monkeypatch.setenv("FREEKD_DEBUG", "1")
    with pytest.raises(ConfigError):
        main([config, "--work-dir", str(tmp_path)])
    with friendly.friendly_errors() as outcome:
        raise KeyboardInterrupt
    assert outcome.code == 130 and "--auto-resume" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError), friendly.friendly_errors():
        _ = 1 / 0


def test_same_seed_for_all_processes():
    assert launch.share_seed(4) == 4
    assert 0 <= launch.share_seed(None) < 2**31
