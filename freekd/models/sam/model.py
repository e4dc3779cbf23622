"""``SegmentAnything``: the package's three parts as a model of mmdet, to be trained and compared.

Its children are named as in the package's ``Sam``, so that official checkpoints load here, and
exported students load there, without renaming.
"""

from typing import Any, Dict, List, Mapping, Optional, Sequence

import torch
from mmdet.models.builder import DETECTORS
from mmdet.models.detectors import BaseDetector
from torch import Tensor

from freekd.models.sam.arch import PARTS, build_parts, check_parts, read_arch
from freekd.models.sam.losses import WEIGHTS, mask_losses
from freekd.models.sam.predict import Predicted, decode, embed_boxes, embed_points, predict
from freekd.models.sam.prompts import STRIDE
from freekd.models.sam.weights import load_parts

# What embeds masks and background points that are given as prompts. Training gives none, so these
# would have no gradient: weight decay would wear them down, and several processes would wait.
_UNUSED = ("prompt_encoder.mask_downscaling", "prompt_encoder.point_embeddings.0")
DECODER = ("prompt_encoder", "mask_decoder")
_LOADERS = dict.fromkeys(  # what training needs of a batch -> the pipeline's steps that give it
    ("gt_masks", "gt_points", "gt_boxes", "is_box"), "LoadSamMasks and SamplePrompts"
)


@DETECTORS.register_module()
class SegmentAnything(BaseDetector):
    """Segment Anything (Kirillov et al., ICCV 2023, arXiv:2304.02643).

    Args:
        variant: ``vit_h``, ``vit_l``, ``vit_b`` or ``vit_tiny``, see :data:`.arch.VARIANTS`.
        arch: sizes that differ from the variant's, or all of them, see :class:`.arch.Arch`.
        frozen: parts that do not learn: of ``image_encoder``, ``prompt_encoder``, ``mask_decoder``.
        mask_loss: whether training computes the loss of the masks. Without, the image encoder alone
            runs, and a distillation says what it learns.
        loss_weights: of ``focal``, ``dice`` and ``iou``, see :mod:`.losses`.
        checkpoint: path or address of weights for all parts, loaded by ``init_weights``: an
            official file, an exported student, or a checkpoint of our own runs.
        decoder_checkpoint: such a file, of which prompt encoder and mask decoder are taken.
        train_cfg, test_cfg: not used; mmdet gives them to every model.
        init_cfg: mmcv's.

    Raises:
        ImportError: the package segment-anything is missing.
        ValueError: a wrong option; names its key.
    """

    # What a teacher need run no further than, see freekd.distill.run.partial
    encoder_parts = ("image_encoder",)

    def __init__(
        self,
        variant: Optional[str] = None,
        arch: Optional[Mapping[str, Any]] = None,
        frozen: Sequence[str] = (),
        mask_loss: bool = True,
        loss_weights: Optional[Mapping[str, float]] = None,
        checkpoint: Optional[str] = None,
        decoder_checkpoint: Optional[str] = None,
        train_cfg: Any = None,
        test_cfg: Any = None,
        init_cfg: Optional[Dict[str, Any]] = None,
    ) -> None:
        super().__init__(init_cfg)
        self.arch = read_arch(variant, arch, "model")
        if not isinstance(mask_loss, bool):
            raise ValueError(f"model.mask_loss: expected True or False, got {mask_loss!r}.")
        if checkpoint is not None and decoder_checkpoint is not None:
            raise ValueError(
                f"model.checkpoint={checkpoint!r} has all parts, and model.decoder_checkpoint="
                f"{decoder_checkpoint!r} some of them: expected one of the two. Remove one."
            )
        self.mask_loss = mask_loss
        self.loss_weights = _read_weights(loss_weights)
        self.checkpoint, self.decoder_checkpoint = checkpoint, decoder_checkpoint
        for name, part in build_parts(self.arch).items():
            self.add_module(name, part)
        self.frozen = check_parts(frozen, "model.frozen")
        for name in (*self.frozen, *_UNUSED):
            self.get_submodule(name).requires_grad_(False)

    @property
    def needed_annotations(self) -> Mapping[str, str]:
        """What the loss needs -> what loads it, see :mod:`freekd.distill.annotations`."""
        return _LOADERS if self.mask_loss else {}

    def init_weights(self) -> None:
        """The weights of ``checkpoint`` or ``decoder_checkpoint``; else as the package starts.

        Raises:
            FileNotFoundError, RuntimeError: no such file, or weights that do not fit exactly.
        """
        if self.checkpoint is not None:
            load_parts(self, self.checkpoint, PARTS, "model.checkpoint")
        elif self.decoder_checkpoint is not None:
            load_parts(self, self.decoder_checkpoint, DECODER, "model.decoder_checkpoint")
        self._is_init = True

    # ----------------------------------------------------------------- forward
    def extract_feat(self, img: Tensor) -> Tensor:
        """The image embedding (N, C, S / 16, S / 16) of images (N, 3, S, S).

        Raises:
            ValueError: images of another size.
        """
        side = self.arch.image_size
        if tuple(img.shape[-2:]) != (side, side):
            raise ValueError(
                f"model.arch.image_size={side}: expected images of {side} x {side} pixels, got "
                f"{img.shape[-2]} x {img.shape[-1]}. Correct Resize and Pad in the pipeline, or "
                "image_size"
            )
        feat: Tensor = self.image_encoder(img)
        return feat

    def forward_train(
        self,
        img: Tensor,
        img_metas: List[Dict[str, Any]],
        gt_masks: Optional[Sequence[Tensor]] = None,
        gt_points: Optional[Sequence[Tensor]] = None,
        gt_boxes: Optional[Sequence[Tensor]] = None,
        is_box: Optional[Sequence[Tensor]] = None,
    ) -> Dict[str, Tensor]:
        """The losses of the masks, means over images; nothing without ``mask_loss``.

        Args:
            img: (N, 3, S, S).
            img_metas: of each image; ``img_shape`` is its size without padding.
            gt_masks: of each image (B, S / 4, S / 4) bool, see
                :func:`freekd.models.sam.prompts.low_resolution`.
            gt_points: (B, 2) in pixels of the input; those of boxes say nothing.
            gt_boxes: (B, 4) corners, in pixels of the input; those of points say nothing.
            is_box: (B,) bool: prompted by the box, else by the point.

        Raises:
            ValueError: the batch has no masks or no prompts.
        """
        embeddings = self.extract_feat(img)
        if not self.mask_loss:
            return {}
        given = (gt_masks, gt_points, gt_boxes, is_box)
        if any(one is None for one in given):
            raise ValueError(
                f"SegmentAnything's loss of the masks needs {', '.join(_LOADERS)} in a batch. Add "
                "LoadSamMasks and SamplePrompts to data.train.pipeline, or set mask_loss=False"
            )
        each = [
            self._image_losses(embeddings[i : i + 1], img_metas[i], *(one[i] for one in given))
            for i in range(len(img))
        ]
        return {name: torch.stack([losses[name] for losses in each]).mean() for name in each[0]}

    def _image_losses(
        self, embedding: Tensor, meta: Mapping[str, Any], masks: Tensor, points: Tensor,
        boxes: Tensor, is_box: Tensor,
    ) -> Dict[str, Tensor]:  # fmt: skip
        if len(is_box) == 0:  # 0, with a gradient of 0 for all that learns
            zero = embedding.sum() * 0
            zero = zero + sum(p.sum() * 0 for p in self.parameters() if p.requires_grad)
            return {f"loss_{name}": zero for name in WEIGHTS}
        found = self.predict_all(embedding, points, boxes, is_box)
        valid = tuple(-(-int(side) // STRIDE) for side in meta["img_shape"][:2])
        logits, iou = found.logits.float(), found.iou.float()
        return mask_losses(logits, iou, masks, is_box, valid, self.loss_weights)  # type: ignore

    def predict_all(
        self, embedding: Tensor, points: Tensor, boxes: Tensor, is_box: Tensor
    ) -> Predicted:
        """All four masks of each prompt of one image, points and boxes in one call of the decoder.

        Args:
            embedding: (1, C, h, w).
            points, boxes, is_box: as in :meth:`forward_train`.
        """
        tokens = embedding.new_zeros(len(is_box), 2, self.arch.out_chans)
        at_points, at_boxes = torch.nonzero(~is_box)[:, 0], torch.nonzero(is_box)[:, 0]
        for places, embed, prompts in (
            (at_points, embed_points, points.float()),
            (at_boxes, embed_boxes, boxes.float()),
        ):
            embedded = embed(self.prompt_encoder, prompts[places])
            tokens = tokens.to(embedded.dtype).index_copy(0, places, embedded)
        return decode(self.prompt_encoder, self.mask_decoder, embedding, [tokens])

    def simple_test(
        self, img: Tensor, img_metas: List[Dict[str, Any]], rescale: bool = True
    ) -> List[Dict[str, List[Any]]]:
        """The masks of each image's prompts, run-length encoded at its original size.

        Args:
            img: (N, 3, S, S).
            img_metas: of each image, with ``sam_prompts`` (points (K, 2) or boxes (K, 4) in pixels
                of the original image) and ``sam_prompt``, ``point`` or ``box``.
            rescale: not used: masks are of the original size.

        Returns:
            For each image ``masks`` and ``iou``, as predicted.
        """
        embeddings = self.extract_feat(img)
        return [
            predict(self, embeddings[i : i + 1], meta["sam_prompts"], meta["sam_prompt"], meta)
            for i, meta in enumerate(img_metas)
        ]

    def aug_test(self, imgs: Any, img_metas: Any, **kwargs: Any) -> Any:
        """Refused: a mask belongs to one view of the image."""
        raise ValueError(
            "data.test.pipeline: expected one view of each image, got several. Give "
            "MultiScaleFlipAug one img_scale and flip=False"
        )


def _read_weights(given: Optional[Mapping[str, float]]) -> Dict[str, float]:
    """Raise ValueError for an unknown name, or a weight that is no number from 0 on."""
    found = dict(given or {})
    for name, value in found.items():
        if name not in WEIGHTS:
            raise ValueError(
                f"model.loss_weights: expected the keys {', '.join(WEIGHTS)}, got {name!r}."
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise ValueError(
                f"model.loss_weights.{name}: expected a number from 0 on, got {value!r}."
            )
    return {**WEIGHTS, **found}
