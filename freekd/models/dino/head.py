"""DINO's head: queries, losses, and Deformable DETR's branches (https://arxiv.org/abs/2203.03605).

Look forward twice comes with the base's own forward: layer i's box starts from the box of layer
i - 1, which DINO's decoder gives with its gradient.
"""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from mmcv.runner import force_fp32
from mmdet.core import (
    bbox_cxcywh_to_xyxy,
    bbox_xyxy_to_cxcywh,
    build_assigner,
    build_sampler,
    multi_apply,
    reduce_mean,
)
from mmdet.models.builder import HEADS
from mmdet.models.dense_heads import DeformableDETRHead
from torch import Tensor, nn

from .denoising import Denoising, build_denoising
from .options import check_options, check_types

_OUTPUTS = ("all_cls_scores", "all_bbox_preds", "enc_cls_scores", "enc_bbox_preds")
Terms = Dict[str, Tensor]


@HEADS.register_module()
class DINOHead(DeformableDETRHead):
    """Deformable DETR's head for DINO: always two-stage, with box refinement.

    Args:
        num_query: Q, the matching queries; the transformer's ``two_stage_num_proposals`` follows.
        dn_cfg: options of :class:`.denoising.DenoisingQueries`.
        train_cfg: with the ``assigner``; the weights of its costs need not be the losses'.
        kwargs: as the base's.

    Raises:
        ValueError: a wrong option; names its config key.
    """

    def __init__(
        self,
        *args: Any,
        num_query: int = 900,
        transformer: Optional[Dict[str, Any]] = None,
        dn_cfg: Optional[Dict[str, Any]] = None,
        train_cfg: Optional[Dict[str, Any]] = None,
        test_cfg: Optional[Dict[str, Any]] = None,
        **kwargs: Any,
    ) -> None:
        for name in ("with_box_refine", "as_two_stage"):
            if kwargs.pop(name, True) is not True:
                raise ValueError(f"bbox_head.{name}: DINO has it always. Remove the key")
        test_cfg = dict(max_per_img=300) if test_cfg is None else test_cfg
        num_classes = kwargs.get("num_classes", args[0] if args else None)
        transformer = check_options(transformer, num_query, num_classes, train_cfg, test_cfg)
        super().__init__(
            *args,
            num_query=num_query,
            with_box_refine=True,
            as_two_stage=True,
            transformer=transformer,
            train_cfg=None,  # the base would want each loss to weigh as much as its cost
            test_cfg=test_cfg,
            **kwargs,
        )
        check_types(self.transformer, self.loss_cls)
        self.train_cfg = train_cfg
        if train_cfg:
            self.assigner = build_assigner(train_cfg["assigner"])
            self.sampler = build_sampler(dict(type="PseudoSampler"), context=self)
        self.denoising = build_denoising(self.num_classes, dn_cfg)
        self.label_embedding = nn.Embedding(self.num_classes, self.embed_dims)

    def forward(
        self,
        mlvl_feats: Sequence[Tensor],
        img_metas: Sequence[Dict[str, Any]],
        dn: Optional[Denoising] = None,
    ) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        """As the base's, for K denoising queries followed by Q matching ones.

        Args:
            mlvl_feats: (N, D, h, w) of each level.
            img_metas: of each image.
            dn: the denoising queries; None: there are none.

        Returns:
            Scores (layers, N, K + Q, C) before the sigmoid and boxes (layers, N, K + Q, 4), shares
            of the image; scores and boxes of the chosen tokens, (N, Q, C) and (N, Q, 4).
        """
        self.transformer.denoising = dn
        try:
            outputs: Tuple[Tensor, Tensor, Tensor, Tensor] = super().forward(mlvl_feats, img_metas)
        finally:
            self.transformer.denoising = None
        return outputs

    def forward_train(
        self,
        x: Sequence[Tensor],
        img_metas: Sequence[Dict[str, Any]],
        gt_bboxes: Sequence[Tensor],
        gt_labels: Sequence[Tensor],
        gt_bboxes_ignore: Optional[Sequence[Tensor]] = None,
        proposal_cfg: None = None,
        **kwargs: Any,
    ) -> Terms:
        """The losses. Denoising queries come from here alone, whatever ``self.training`` says.

        Args:
            x: the neck's maps.
            img_metas: of each image.
            gt_bboxes: (n, 4) of each image, x1 y1 x2 y2 in pixels.
            gt_labels: (n,) of each image.
            gt_bboxes_ignore: must be None, as in the base.
            proposal_cfg, kwargs: the base's, unused.
        """
        sizes = [meta["img_shape"][:2] for meta in img_metas]
        dn = self.denoising(gt_bboxes, gt_labels, sizes, self.label_embedding)
        outputs = self(x, img_metas, dn)
        terms: Terms = self.loss(
            *outputs, gt_bboxes, gt_labels, img_metas, gt_bboxes_ignore=gt_bboxes_ignore, dn=dn
        )
        return terms

    @force_fp32(apply_to=_OUTPUTS)
    def loss(
        self,
        all_cls_scores: Tensor,
        all_bbox_preds: Tensor,
        enc_cls_scores: Tensor,
        enc_bbox_preds: Tensor,
        gt_bboxes_list: Sequence[Tensor],
        gt_labels_list: Sequence[Tensor],
        img_metas: Sequence[Dict[str, Any]],
        gt_bboxes_ignore: Optional[Sequence[Tensor]] = None,
        dn: Optional[Denoising] = None,
    ) -> Terms:
        """All terms: of each layer's matching queries, the chosen tokens, the denoising queries.

        Args:
            all_cls_scores, all_bbox_preds, enc_cls_scores, enc_bbox_preds: see :meth:`forward`.
            gt_bboxes_list, gt_labels_list, img_metas, gt_bboxes_ignore: see :meth:`forward_train`.
            dn: the denoising queries that stand first; None: there are none.
        """
        count = 0 if dn is None else dn.count
        truth = (gt_bboxes_list, gt_labels_list, img_metas)
        terms: Terms = super().loss(
            all_cls_scores[:, :, count:],
            all_bbox_preds[:, :, count:],
            None,  # the base would compare all tokens, and with one class
            None,
            *truth,
            gt_bboxes_ignore=gt_bboxes_ignore,
        )
        of_encoder = self.loss_single(enc_cls_scores, enc_bbox_preds, *truth)
        terms.update(zip(("enc_loss_cls", "enc_loss_bbox", "enc_loss_iou"), of_encoder))
        if dn is not None:
            scores, boxes = all_cls_scores[:, :, :count], all_bbox_preds[:, :, :count]
            terms.update(self._denoising_terms(scores, boxes, *truth, dn=dn))
        return terms

    def _denoising_terms(
        self,
        scores: Tensor,
        boxes: Tensor,
        gt_bboxes: Sequence[Tensor],
        gt_labels: Sequence[Tensor],
        img_metas: Sequence[Dict[str, Any]],
        dn: Denoising,
    ) -> Terms:
        """Positive copies shall find their box, negative ones and unused slots are background."""
        factors = torch.stack(
            [boxes.new_tensor([meta["img_shape"][i] for i in (1, 0, 1, 0)]) for meta in img_metas]
        )
        truth = [bbox_xyxy_to_cxcywh(one / by) for one, by in zip(gt_bboxes, factors)]
        where = (dn.image, dn.query)
        labels = torch.full(scores.shape[1:3], self.num_classes, device=scores.device)
        labels[where] = torch.cat(list(gt_labels))[dn.target]
        targets = torch.zeros_like(boxes[0])
        targets[where] = torch.cat(truth)[dn.target].to(targets)
        weights = torch.zeros_like(targets)
        weights[where] = 1.0
        average = reduce_mean(scores.new_tensor(float(len(dn.query)))).clamp(min=1).item()
        factors = factors[:, None].expand_as(targets)

        def of_layer(layer_scores: Tensor, layer_boxes: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
            if not dn.count:  # no box in the batch: 0, but known to the gradient
                zero = (layer_scores.sum() + layer_boxes.sum()) * 0
                return zero, zero, zero
            flat, ours = layer_boxes.flatten(0, 1), [bbox_cxcywh_to_xyxy(layer_boxes) * factors]
            ours.append(bbox_cxcywh_to_xyxy(targets) * factors)
            corners, true_corners = (one.flatten(0, 1) for one in ours)
            by = dict(avg_factor=average)
            every = weights.new_ones(labels.numel())
            return (
                self.loss_cls(layer_scores.flatten(0, 1), labels.flatten(), every, **by),
                self.loss_bbox(flat, targets.flatten(0, 1), weights.flatten(0, 1), **by),
                self.loss_iou(corners, true_corners, weights.flatten(0, 1), **by),
            )

        names = ("dn_loss_cls", "dn_loss_bbox", "dn_loss_iou")
        columns: List[List[Tensor]] = multi_apply(of_layer, scores, boxes)
        terms: Terms = {}
        for layer in range(len(scores)):
            prefix = "" if layer == len(scores) - 1 else f"d{layer}."
            terms.update({prefix + name: col[layer] for name, col in zip(names, columns)})
        return terms
