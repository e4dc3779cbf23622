"""``pair`` and ``prompt``, spelled out. Oracle: the algorithm written by hand; stock mmdet."""

from pathlib import Path
from urllib.error import URLError

import mmcv
import pytest
import torch

from freekd.engine import print_config, setup
from freekd.engine.errors import ConfigError
from freekd.models import download

ROOT = Path(__file__).resolve().parents[2]
TEACHER = "mmdet::faster_rcnn/faster_rcnn_r101_fpn_2x_coco.py"
STUDENT = "mmdet::faster_rcnn/faster_rcnn_r50_fpn_2x_coco.py"
PAIR = dict(
    teacher=TEACHER, student=STUDENT, teacher_checkpoint="t.pth", freekd=dict(loss_weight=2)
)


def load(tmp_path, options=None, **keys):
    path = tmp_path / "config.py"
    path.write_text("\n".join(f"{name} = {value!r}" for name, value in keys.items()) + "\n")
    return setup.load_config(str(path), options)


def test_a_pair_is_what_one_would_write_by_hand(tmp_path):
    pair = dict(
        PAIR, prompts="p.pth", mse=dict(loss_weight=3),
        regression=[
            dict(student="roi_head.bbox_head.fc_reg", teacher="roi_head.bbox_head.0.fc_reg"),
            dict(module="rpn_head.rpn_reg", beta=0.1, loss_weight=0.5),
        ],
        inherit=["neck"],
    )  # fmt: skip
    maps = dict(student_channels=256, teacher_channels=256, num_levels=5)
    expected = dict(
        type="FreeKDDistill",
        architecture=dict(type="MMDetArchitecture", model=STUDENT),
        inherit=["neck"],
        distiller=dict(
            type="FreeKDDistiller", teacher=TEACHER, teacher_checkpoint="t.pth", min_share=0.95,
            components=[
                dict(
                    student_module="neck", teacher_module="neck", resize=False,
                    losses=[
                        dict(type="FreeKDLoss", name="loss_freekd", prompts="p.pth",
                             loss_weight=2, **maps),
                        dict(type="FeatureMSELoss", name="loss_mse", loss_weight=3, **maps),
                    ],
                ),
                dict(
                    student_module="roi_head.bbox_head.fc_reg",
                    teacher_module="roi_head.bbox_head.0.fc_reg",
                    losses=[dict(type="mmdet.SmoothL1Loss", name="loss_regression")],
                ),
                dict(
                    student_module="rpn_head.rpn_reg", teacher_module="rpn_head.rpn_reg",
                    losses=[dict(type="mmdet.SmoothL1Loss", name="loss_regression_1", beta=0.1,
                                 loss_weight=0.5)],
                ),
            ],
        ),
    )  # fmt: skip
    assert load(tmp_path, pair=pair).algorithm == expected


def test_a_prompt_is_what_one_would_write_by_hand(tmp_path):
    seg = "mmseg::pspnet/pspnet_r101-d8_512x1024_40k_cityscapes.py"
    cfg = load(tmp_path, prompt=dict(teacher=seg, module="decode_head.conv_seg", num_prompts=6))
    assert cfg.algorithm == dict(
        type="FrequencyPromptFinetune",
        architecture=dict(
            type="FrequencyPromptTeacher", model=seg, checkpoint=None, channels=19, num_levels=1,
            module="decode_head.conv_seg", num_prompts=6, wavelet="haar", dwt_levels=3,
            dwt_mode="zero", granularity="band", gate="position", min_share=0.95,
        ),
        dissimilarity="jaccard", dissimilarity_weight=1.0,
    )  # fmt: skip


def test_segmentors_get_their_architecture(tmp_path):
    seg = "mmseg::pspnet/pspnet_r18-d8_512x1024_80k_cityscapes.py"
    pair = dict(PAIR, teacher=seg, student=seg, module="decode_head.conv_seg")
    algorithm = load(tmp_path, pair=pair).algorithm
    assert algorithm.architecture.type == "MMSegArchitecture"
    assert algorithm.distiller.components[0].losses[0].teacher_channels == 19


@pytest.mark.parametrize(
    "keys, words",
    [
        (dict(pair=dict(PAIR, techer=TEACHER)), ["'techer'", "techer -> teacher"]),
        (dict(pair=dict(PAIR, teacher=None)), ["pair", "['teacher']", "missing"]),
        (dict(pair=dict(PAIR, freekd=None)), ["no distillation term"]),
        (dict(pair=dict(PAIR, regression=dict(module="a"))), ["pair.regression", "list"]),
        (
            dict(pair=dict(PAIR, regression=[dict(student="a")])),
            ["pair.regression[0]", "'teacher'"],
        ),
        (dict(pair=dict(PAIR, module=dict(student="neck"))), ["pair.module"]),
        (dict(pair=dict(PAIR, module="backbone")), ["'backbone'", "pair.channels"]),
        (dict(pair=PAIR, prompt=dict(teacher=TEACHER)), ["['pair', 'prompt']"]),
        (dict(pair=dict(PAIR, student="mmdet::faster_rcnn/r50.py")), ["pair.student", "nearest"]),
        (dict(pair=dict(PAIR, student="nowhere.py")), ["pair.student='nowhere.py'", "mmdet::"]),
    ],
)
def test_what_a_pair_must_not_say(tmp_path, keys, words):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, **keys)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_options_reach_into_a_stock_model_and_into_the_algorithm(tmp_path):
    options = {
        "pair.student.roi_head.bbox_head.num_classes": 10,
        "pair.freekd.loss_weight": 7,
        "algorithm.distiller.components.0.losses.0.num_prompts": 6,
    }
    cfg = load(tmp_path, options, pair=PAIR)
    loss = cfg.algorithm.distiller.components[0].losses[0]
    assert (loss.loss_weight, loss.num_prompts) == (7, 6)
    model = print_config.resolved(cfg).algorithm.architecture.model
    assert (model.roi_head.bbox_head.num_classes, model.backbone.depth) == (10, 50)


def test_print_config(tmp_path, capsys):
    load(tmp_path, pair=PAIR)
    config = str(tmp_path / "config.py")
    assert print_config.main([config]) == 0
    (tmp_path / "printed.py").write_text(capsys.readouterr().out)
    printed = mmcv.Config.fromfile(str(tmp_path / "printed.py"))
    stock = setup.load_config(STUDENT).model
    stock.type = "mmdet.FasterRCNN"
    assert printed.algorithm.architecture.model == stock
    assert print_config.main([config, "--short", "--key", "algorithm.architecture.model"]) == 0
    assert STUDENT in capsys.readouterr().out
    assert print_config.main([config, "--key", "algorithm.distiler"]) == 1
    assert "nearest: ['distiller']" in capsys.readouterr().err


# --------------------------------------------------------------------------- the baseline
def test_the_student_alone(tmp_path):
    cfg = load(tmp_path, pair=PAIR, work_dir="work_dirs/a")
    setup.keep_student_only(cfg)
    assert (cfg.model, cfg.algorithm, cfg.pair) == (STUDENT, None, None)
    assert cfg.work_dir == "work_dirs/a_student_only"
    with pytest.raises(ConfigError, match="--student-only"):
        setup.keep_student_only(load(tmp_path, prompt=dict(teacher=TEACHER)))


def test_the_student_alone_starts_with_the_same_weights(monkeypatch):
    monkeypatch.chdir(ROOT)
    states = []
    for alone in (False, True):
        options = {"pair.prompts": None, "pair.teacher_checkpoint": None}
        cfg = setup.load_config("configs/freekd/retinanet_r34_r18_digits.py", options)
        if alone:
            setup.keep_student_only(cfg)
        torch.manual_seed(3)
        model = setup.build_model(cfg, "det")
        torch.manual_seed(3)
        setup.init_weights(model, cfg)
        states.append((model if alone else model.architecture.model).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_class_counts(monkeypatch):
    monkeypatch.chdir(ROOT)
    options = {"pair.prompts": None, "pair.teacher_checkpoint": None}
    cfg = setup.load_config("configs/freekd/retinanet_r34_r18_digits.py", options)
    model = setup.build_model(cfg, "det")

    class Data:
        CLASSES = tuple("0123456789")

    setup.check_classes(model, Data)
    Data.CLASSES = ("car", "cat")
    with pytest.raises(
        ConfigError, match=r"bbox_head.num_classes: RetinaHead has 10.* 2 \(car, cat"
    ):
        setup.check_classes(model, Data)


# --------------------------------------------------------------------------- without a network
URL = "https://example.org/zoo/a%2Bb-0123abcd.pth"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path / "checkpoints"


def test_a_checkpoint_is_fetched_once_and_its_hash_checked(hub, monkeypatch):
    calls = []

    def fetch(url, dst, hash_prefix=None, progress=True):
        calls.append((url, hash_prefix))
        Path(dst).write_bytes(b"x")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    path = download.local_checkpoint(URL, "pair.teacher_checkpoint")
    assert download.local_checkpoint(URL, "pair.teacher_checkpoint") == path
    assert calls == [(URL, "0123abcd")]
    assert Path(path).parent == hub
    assert download.local_checkpoint("a/b.pth", "key") == "a/b.pth"


def test_a_file_put_there_by_hand_is_taken(hub):
    hub.mkdir()
    (hub / "a+b-0123abcd.pth").write_bytes(b"x")
    assert download.local_checkpoint(URL, "key") == str(hub / "a+b-0123abcd.pth")


def test_offline_says_where_to_put_the_file(hub, monkeypatch):
    def fetch(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(download.DownloadError) as error:
        download.local_checkpoint(URL, "algorithm.distiller.teacher_checkpoint")
    for word in (
        URL,
        str(hub),
        "--cfg-options algorithm.distiller.teacher_checkpoint=/path/to/a+b",
    ):
        assert word in str(error.value)
    assert list(hub.iterdir()) == []


def test_offline_names_the_backbones_file(hub, monkeypatch, tmp_path):
    cfg = load(tmp_path, pair=dict(PAIR, teacher_checkpoint="t.pth"))
    lines = download.where_to_put(cfg.algorithm)
    assert len(lines) == 1  # the teacher's backbone comes with its checkpoint
    assert "resnet50" in lines[0] and str(hub) in lines[0]

    class Offline(torch.nn.Module):
        def init_weights(self):
            raise URLError("Name or service not known")

    with pytest.raises(ConfigError, match="resnet50.*pair.student.backbone.init_cfg=None"):
        setup.init_weights(Offline(), cfg)
