"""A golden file of DINO: its arrays, and the model that they are of, with sizes read from them."""

import importlib
import os
from pathlib import Path

import numpy as np
import torch

OWN = Path(__file__).parents[1] / "golden"
FOLDER = Path(os.environ.get("FREEKD_GOLDEN") or OWN)
FILES = sorted(FOLDER.glob("dino_*.npz"))


def divisors(number):
    return [d for d in range(1, number + 1) if number % d == 0]


class Read(dict):
    """Arrays by name, and which of them were asked for."""

    def __init__(self, arrays):
        super().__init__(arrays)
        self.names = set()

    def __getitem__(self, name):
        self.names.add(name)
        return super().__getitem__(name)


class File:
    """The arrays of a file; ``state`` are the weights, under mmdet 3.x's names."""

    def __init__(self, path):
        with np.load(path) as arrays:
            self.arrays = Read({name: arrays[name] for name in arrays.files})
        start = "state."
        self.state = {
            name[len(start) :]: torch.from_numpy(value)
            for name, value in self.arrays.items()
            if name.startswith(start)
        }
        self.batches = sorted({name.split(".")[0] for name in self.arrays} - {"state"})

    def unread(self):
        """Names of arrays, weights aside, that nothing has read."""
        return [n for n in self.arrays if n not in self.arrays.names and not n.startswith("state.")]

    def count(self, *parts):
        """How many numbers in a row, from 0, are found in names: parts before and after them."""
        before, after = parts
        number = 0
        while any(name.startswith(f"{before}{number}{after}") for name in self.state):
            number += 1
        return number

    def depth(self):
        """Of the ResNet."""
        if "backbone.layer1.0.conv3.weight" in self.state:
            return 50
        return {2: 18, 3: 34}[self.count("backbone.layer1.", ".")]

    def tensor(self, name):
        array = torch.from_numpy(self.arrays[name])
        return array.double() if array.is_floating_point() else array

    def several(self, name):
        """The arrays ``name.0``, ``name.1`` and so on."""
        found = []
        while f"{name}.{len(found)}" in self.arrays:
            found.append(self.tensor(f"{name}.{len(found)}"))
        return found

    def model(self, groups, heads, queries, results):
        """The config, for numbers of the neck's norm and of heads that no shape tells."""
        s = self.state
        queries_, channels = s["query_embedding.weight"].shape
        levels = len(s["level_embed"])
        points = len(s["encoder.layers.0.self_attn.attention_weights.bias"]) // (heads * levels)
        attention = dict(
            type="MultiScaleDeformableAttention", embed_dims=channels, num_heads=heads,
            num_levels=levels, num_points=points, dropout=0.0,
        )  # fmt: skip
        hidden = len(s["encoder.layers.0.ffn.layers.0.0.bias"])
        ffn = dict(
            type="FFN", embed_dims=channels, feedforward_channels=hidden, num_fcs=2,
            ffn_drop=0.0, act_cfg=dict(type="ReLU", inplace=True),
        )  # fmt: skip
        stem = len(s["backbone.conv1.weight"])
        widths = [len(s[f"neck.convs.{i}.conv.weight"][0]) for i in range(99) if
                  f"neck.convs.{i}.conv.weight" in s]  # fmt: skip
        inputs = [s[f"neck.convs.{i}.conv.weight"].shape[1] for i in range(len(widths))]
        stages = tuple(range(4 - len(inputs), 4))
        classes = len(s["bbox_head.cls_branches.0.weight"])
        return dict(
            type="DINO",
            backbone=dict(
                type="ResNet", depth=self.depth(), base_channels=stem,
                stem_channels=stem, num_stages=4, out_indices=stages, frozen_stages=1,
                norm_cfg=dict(type="BN", requires_grad=False), norm_eval=True, style="pytorch",
            ),
            neck=dict(
                type="ChannelMapper", in_channels=inputs, kernel_size=1, out_channels=channels,
                act_cfg=None, norm_cfg=dict(type="GN", num_groups=groups), num_outs=levels,
            ),
            bbox_head=dict(
                type="DINOHead", num_classes=classes, in_channels=channels, num_query=queries_,
                sync_cls_avg_factor=True,
                dn_cfg=dict(num_dn_queries=queries),
                transformer=dict(
                    type="DINOTransformer", num_feature_levels=levels,
                    encoder=dict(
                        type="DetrTransformerEncoder",
                        num_layers=self.count("encoder.layers.", "."),
                        transformerlayers=dict(
                            type="BaseTransformerLayer", attn_cfgs=attention, ffn_cfgs=ffn,
                            operation_order=("self_attn", "norm", "ffn", "norm"),
                        ),
                    ),
                    decoder=dict(
                        type="DINOTransformerDecoder",
                        num_layers=self.count("decoder.layers.", "."),
                        transformerlayers=dict(
                            type="DetrTransformerDecoderLayer",
                            attn_cfgs=[
                                dict(type="MultiheadAttention", embed_dims=channels,
                                     num_heads=heads, dropout=0.0),
                                attention,
                            ],
                            ffn_cfgs=ffn, feedforward_channels=hidden, ffn_dropout=0.0,
                            operation_order=(
                                "self_attn", "norm", "cross_attn", "norm", "ffn", "norm",
                            ),
                        ),
                    ),
                ),
                positional_encoding=dict(
                    type="SinePositionalEncoding", num_feats=channels // 2, normalize=True,
                    offset=0.0, temperature=20,
                ),
                loss_cls=dict(
                    type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0
                ),
                loss_bbox=dict(type="L1Loss", loss_weight=5.0),
                loss_iou=dict(type="GIoULoss", loss_weight=2.0),
            ),
            train_cfg=dict(
                assigner=dict(
                    type="HungarianAssigner", cls_cost=dict(type="FocalLossCost", weight=2.0),
                    reg_cost=dict(type="BBoxL1Cost", weight=5.0, box_format="xywh"),
                    iou_cost=dict(type="IoUCost", iou_mode="giou", weight=2.0),
                )
            ),
            test_cfg=dict(max_per_img=results),
        )  # fmt: skip

    def build(self, groups, heads, queries=1, results=1):
        """The model in float64, with the file's weights."""
        importlib.import_module("freekd.models")
        from mmcv import ConfigDict
        from mmdet.models import build_detector

        built = build_detector(ConfigDict(self.model(groups, heads, queries, results)))
        built = built.double().eval()
        told = built.load_state_dict(dict(self.state), strict=False)
        lacking = [n for n in told.missing_keys if not n.endswith("num_batches_tracked")]
        assert not lacking and not told.unexpected_keys
        return built

    def metas(self, batch):
        """Of each image, as mmdet 2.x's pipeline gives them."""
        height, width = self.arrays[f"{batch}.img"].shape[-2:]
        metas = []
        for i, (h, w) in enumerate(self.arrays[f"{batch}.img_shape"].tolist()):
            meta = dict(img_shape=(h, w, 3), batch_input_shape=(height, width), flip=False)
            if f"{batch}.scale_factor_wh" in self.arrays:
                factors = self.arrays[f"{batch}.scale_factor_wh"][i]
                meta["scale_factor"] = np.concatenate([factors, factors])
            metas.append(meta)
        return metas

    def truth(self, batch):
        """Boxes and labels of each image of a batch."""
        boxes = [box.reshape(-1, 4) for box in self.several(f"{batch}.gt_bboxes")]
        return boxes, self.several(f"{batch}.gt_labels")
