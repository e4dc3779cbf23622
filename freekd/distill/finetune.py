"""Stage 1 as an MMRazor algorithm: the prompts are finetuned inside the frozen teacher (Eq. 9)."""

from typing import Any, Collection, Dict, Optional, Sequence

from mmrazor.models.algorithms.base import BaseAlgorithm
from mmrazor.models.builder import ALGORITHMS

from freekd.checks import check_choice, check_weight
from freekd.distill.annotations import check_annotations
from freekd.distill.class_maps import both_lists, other_order
from freekd.distill.stand_for import StandsForModel
from freekd.prompts.dissimilarity import DISSIMILARITIES, REDUCTIONS
from freekd.prompts.file import save_prompts


@ALGORITHMS.register_module()
class FrequencyPromptFinetune(StandsForModel, BaseAlgorithm):
    """Stage 1: L_prompt = L_finetune + lambda L_dis (Eq. 9); only prompts and gate learn.

    With a price for what passes, L_prompt = L_finetune + lambda L_dis + sparsity L_pass, and
    L_pass = mean over bands, levels, images and positions of sum_i m_i: without it nothing rewards
    masks that leave a place out.

    Args:
        architecture: a :class:`FrequencyPromptTeacher`.
        dissimilarity: ``jaccard`` (the paper) or ``dice`` (the release).
        dissimilarity_weight: lambda.
        dissimilarity_reduction: L_dis is the ``sum`` over bands and pyramid levels (the paper), or
            their ``mean``, which has the size of one term whatever their number.
        sparsity: the price; 0 (the paper) for none.
        class_map: ``by_index``: the data's labels are the teacher's classes whatever their names;
            None: other names, or another order, are an error.

    In the log: the teacher's own terms on the masked features as ``teacher.*``,
    ``loss_dissimilarity`` and, where it is asked for, ``loss_sparsity`` (weighted), and
    ``mask_sum``, L_pass: T/2 at the start; a band that the task needs whole has a sum near 1.

    Raises:
        ValueError: an unknown choice, or a price that is no number of at least 0; with its key.
    """

    def __init__(
        self,
        architecture: Dict[str, Any],
        dissimilarity: str = "jaccard",
        dissimilarity_weight: float = 1.0,
        class_map: Optional[str] = None,
        dissimilarity_reduction: str = "sum",
        sparsity: float = 0.0,
        **kwargs: Any,
    ) -> None:
        check_choice("algorithm.dissimilarity", dissimilarity, DISSIMILARITIES)
        check_choice("algorithm.dissimilarity_reduction", dissimilarity_reduction, REDUCTIONS)
        check_weight("algorithm.sparsity", sparsity)
        check_choice("algorithm.class_map", class_map, (None, "by_index"))
        super().__init__(architecture, **kwargs)
        self.dissimilarity = dissimilarity
        self.dissimilarity_weight = dissimilarity_weight
        self.dissimilarity_reduction = dissimilarity_reduction
        self.sparsity = sparsity
        self.class_map = class_map
        self._complete = True

    def check_ready(
        self, image: Optional[Sequence[int]] = None, given: Optional[Collection[str]] = None
    ) -> None:
        """The labels that the teacher's own loss sees must be its classes, in its order.

        Args:
            image: (channels, height, width) of the data's images.
            given: keys of a batch.

        Raises:
            ValueError: its checkpoint names others, or in another order; or its loss needs an
                annotation that a batch does not have.
        """
        teacher = self.architecture
        if given is not None:
            key = "prompt.without_losses"
            check_annotations(teacher.model, given, teacher.without_losses, "teacher", key)
        ours, theirs = getattr(self, "CLASSES", None), self.architecture.teacher_classes
        if self.class_map is None and other_order(ours, theirs):
            raise ValueError(
                "the teacher's own loss compares its outputs with the data's labels, and "
                f"{both_lists(ours, theirs, 'data')}. Give data.train.classes (val, test) the "
                "teacher's names in its order, or, if they mean the same one by one, set "
                "algorithm.class_map='by_index' (prompt.class_map)"
            )

    def forward(self, img: Any, return_loss: bool = True, **kwargs: Any) -> Any:
        """The losses of stage 1, or the prompted teacher's results."""
        if not return_loss:
            return self.architecture(img, return_loss=False, **kwargs)
        teacher = self.architecture
        losses = {
            f"teacher.{name}": value
            for name, value in teacher.forward_prompted(img=img, **kwargs).items()
        }
        prompts, masks = teacher.prompts, teacher.masks
        losses["loss_dissimilarity"] = self.dissimilarity_weight * prompts.dissimilarity(
            masks, self.dissimilarity, self.dissimilarity_reduction
        )
        passing = prompts.passing(masks)
        if self.sparsity:
            losses["loss_sparsity"] = self.sparsity * passing
        losses["mask_sum"] = passing.detach()
        return losses

    def train_step(self, data: Dict[str, Any], optimizer: Optional[Any]) -> Dict[str, Any]:
        """One step; ``ratio.dissimilarity`` in the log is lambda L_dis / L_finetune.

        ``ratio.sparsity``, where there is a price, is sparsity L_pass / L_finetune.
        """
        outputs: Dict[str, Any] = super().train_step(data, optimizer)
        log = outputs["log_vars"]
        task = sum(v for k, v in log.items() if k.startswith("teacher.") and "loss" in k)
        for name in ("dissimilarity", "sparsity"):
            if f"loss_{name}" in log:
                log[f"ratio.{name}"] = log[f"loss_{name}"] / task if task else float("nan")
        return outputs

    def save_prompts(self, path: str) -> None:
        """Write the prompt file that stage 2 reads."""
        teacher = self.architecture
        save_prompts(teacher.prompts, path, teacher.prompt_info())
