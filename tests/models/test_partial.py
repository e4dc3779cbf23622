"""A teacher run in parts. Oracle: the stock model run whole, on the same images."""

import pytest
import tiny
import torch

from freekd.models.partial import SINGLE, PartialRun, roi_stage
from freekd.models.taps import hook_output

FCN = tiny.segmentor()
DATA = tiny.batch()


def record(model, path, run):
    """What the module gives, call by call."""
    outputs = []
    handle = hook_output(model.get_submodule(path), lambda out, sizes: outputs.append(out))
    with torch.no_grad():
        run()
    handle.remove()
    return outputs


@pytest.mark.parametrize(
    "cfg, path, calls",
    [
        (tiny.detector(), "neck", 1),
        (tiny.detector(), "bbox_head.retina_reg", tiny.NUM_LEVELS),
        (tiny.faster_rcnn(), "rpn_head.rpn_cls", 5),
        (tiny.deformable_detr(), "bbox_head.transformer.encoder", 1),
        (FCN, "decode_head.conv_seg", 1),
    ],
    ids=["neck", "dense head", "rpn", "encoder", "class maps"],
)
def test_as_in_a_whole_forward(cfg, path, calls):
    torch.manual_seed(0)
    model = tiny.build(cfg).eval()
    data = dict(DATA, img_metas=[dict(meta) for meta in DATA["img_metas"]])
    if cfg is FCN:
        data = dict(
            img=data["img"], img_metas=data["img_metas"],
            gt_semantic_seg=torch.zeros(2, 1, 64, 64, dtype=torch.long),
        )  # fmt: skip
    whole = record(model, path, lambda: model(return_loss=True, **data))
    run = PartialRun(model, [path])
    assert run.possible
    for meta in data["img_metas"]:
        meta.pop("batch_input_shape", None)
    parts = record(model, path, lambda: run.features(data["img"], data["img_metas"]))
    assert len(parts) == len(whole) == calls
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize(
    "cfg, stage", [(tiny.faster_rcnn(), SINGLE), (tiny.cascade_mask_rcnn(), 1)], ids=["one", "many"]
)
def test_a_roi_head_on_given_proposals(cfg, stage):
    torch.manual_seed(0)
    model = tiny.build(cfg).eval()
    name = "roi_head.bbox_head" + ("" if stage == SINGLE else f".{stage}") + ".fc_reg"
    rois = torch.tensor([[0.0, 2, 2, 30, 40], [1, 10, 12, 60, 50]])
    run = PartialRun(model, [name])
    assert run.possible and run.stages == [stage]
    feats = model.extract_feat(DATA["img"])
    found = record(model, name, lambda: run.roi_head(feats, rois, stage))
    args = (feats, rois) if stage == SINGLE else (stage, feats, rois)
    expected = model.roi_head._bbox_forward(*args)["bbox_pred"]
    torch.testing.assert_close(found, [expected])


def test_what_cannot_be_run_in_parts():
    model = tiny.build(tiny.cascade_mask_rcnn())
    assert not PartialRun(model, ["roi_head.mask_head.0.conv_logits"]).possible
    assert not PartialRun(model, ["neck", "no_such_head.conv"]).possible
    assert roi_stage("neck") is None and roi_stage("roi_head.mask_head.0") is None
