"""Stage 2 as an MMRazor algorithm: distillation."""

from typing import Any, Collection, Dict, Optional, Sequence

import torch
from mmrazor.models.algorithms import GeneralDistill
from mmrazor.models.builder import ALGORITHMS

from freekd import tasks
from freekd.distill.annotations import check_annotations
from freekd.distill.distiller import FreeKDDistiller
from freekd.distill.inherit import Inherited, Parts, inherit_weights
from freekd.distill.stand_for import StandsForModel
from freekd.distill.weights import resolve_model


@ALGORITHMS.register_module()
class FreeKDDistill(StandsForModel, GeneralDistill):
    """Stage 2: L_student = L_task + mu L_FreeKD (Eq. 14), with any terms beside it.

    Args:
        architecture: MMRazor's ``MMDetArchitecture`` or ``MMSegArchitecture``; its ``model`` is
            the student, a model dict, the path of a config file, or a stock config such as
            ``mmdet::retinanet/retinanet_r50_fpn_2x_coco.py``.
        distiller: a :class:`FreeKDDistiller`; its teacher may be None.
        inherit: parts of the student that start with the teacher's weights, such as
            ``["neck", "bbox_head"]``; see :func:`freekd.distill.inherit.inherit_weights`.

    What a student does to whole batches, such as Mixup, is done here instead, once and before the
    teacher runs; that of the teacher's config is not used.

    In the log, beside each term: ``ratio.<term>``, its size relative to the student's task loss;
    and ``weight.<term>``, its weight in the iteration, where ``start``, ``stop`` or ``warmup`` of
    the loss change it; ``part.<term>.<part>``, what it is the sum of, where the loss tells (of the
    first process alone, and without that change).
    """

    def __init__(
        self,
        architecture: Dict[str, Any],
        distiller: Dict[str, Any],
        inherit: Parts = (),
        **kwargs: Any,
    ) -> None:
        if kwargs.get("with_teacher_loss"):
            raise ValueError(
                "algorithm.with_teacher_loss=True: the teacher is frozen, its loss teaches nothing"
            )
        architecture = dict(architecture)
        architecture["model"] = resolve_model(
            architecture.get("model"), "algorithm.architecture.model"
        )
        super().__init__(architecture=architecture, distiller=distiller, **kwargs)
        if isinstance(inherit, str):
            raise ValueError(f"algorithm.inherit={inherit!r}: expected a list, [{inherit!r}]")
        if inherit and getattr(self.distiller, "teacher", None) is None:
            raise ValueError(
                f"algorithm.inherit={inherit!r}: distiller.teacher is None, so there is nothing to "
                "inherit. Remove the key, or give a teacher"
            )
        self.inherit = inherit
        self.inherited: Optional[Inherited] = None
        self.batch_augmentation = self._take_batch_augmentation()
        self._complete = True

    def _take_batch_augmentation(self) -> Optional[tasks.BatchAugmentation]:
        """The student's Mixup and its like, out of the student; the teacher's is left out.

        Raises:
            TaskError: the student's head cannot learn from it; names the key.
        """
        student = self.architecture.model
        task = tasks.of_built(student)
        task.check_batch_augmentation(student, "pair.student (algorithm.architecture.model)")
        found = task.batch_augmentation(student)
        if found is not None:
            found.remove()
        teacher = getattr(self.distiller, "teacher", None)
        unused = None if teacher is None else task.batch_augmentation(teacher)
        if unused is not None:
            unused.remove()
        return found

    def augmented(self, data: Dict[str, Any]) -> Dict[str, Any]:
        """A batch as teacher, student and losses see it: mixed once where the student mixes.

        Mixed labels are soft, (N, K).
        """
        return data if self.batch_augmentation is None else self.batch_augmentation.apply(data)

    def init_weights(self) -> None:
        """Student and teacher as their configs say; then the student inherits."""
        super().init_weights()
        if self.inherit and self.distiller is not None:
            with torch.no_grad():
                self.inherited = inherit_weights(
                    self.architecture.model,
                    self.distiller.teacher,
                    self.inherit,
                    "algorithm.inherit",
                    getattr(self.distiller, "teacher_classes", None),
                    getattr(self.distiller, "class_map", None),
                )

    def check_ready(
        self, image: Optional[Sequence[int]] = None, given: Optional[Collection[str]] = None
    ) -> None:
        """What can only be checked once all weights are loaded, see the distiller's.

        Args:
            image: (channels, height, width) of the data's images.
            given: keys of a batch.
        """
        student = self.architecture.model
        if given is not None:
            check_annotations(student, given, who="student")
        if isinstance(self.distiller, FreeKDDistiller):
            if given is not None:
                self.distiller.check_annotations(given)
            self.distiller.check_ready()
            self.distiller.check_class_names(student)
            self.distiller.check_shapes(student, image)

    def check_dataset(self, dataset: Any, write: bool = True) -> None:
        """What can only be checked with the training data, see the distiller's ``check_cache``."""
        if not isinstance(self.distiller, FreeKDDistiller) or self.distiller.cache is None:
            return
        if self.batch_augmentation is not None:
            raise ValueError(
                f"pair.cache_embeddings: the student's {self.batch_augmentation.what} changes "
                "every batch, so that an image has no embedding of its own. Remove one of the two"
            )
        self.distiller.check_cache(dataset, write)

    def train_step(self, data: Dict[str, Any], optimizer: Optional[Any]) -> Dict[str, Any]:
        """One step, with each distillation term's size relative to the task loss in the log."""
        outputs: Dict[str, Any] = super().train_step(self.augmented(data), optimizer)
        log = outputs["log_vars"]
        task = sum(v for k, v in log.items() if k.startswith("student.") and "loss" in k)
        for name in [name for name in log if name.startswith("distiller.")]:
            short = _short(name[len("distiller.") :].rsplit(".", 1)[0])
            if task:  # a student may learn from its teacher alone
                log[f"ratio.{short}"] = log.get(f"ratio.{short}", 0.0) + log[name] / task
        if isinstance(self.distiller, FreeKDDistiller):
            for name, weight in self.distiller.weights_in_force().items():
                log[f"weight.{_short(name)}"] = weight
            for name, part, value in self.distiller.parts_in_force():
                log[f"part.{_short(name)}.{part}"] = value
        return outputs


def _short(loss: str) -> str:
    """A loss's name in the log."""
    return loss[len("loss_") :] if loss.startswith("loss_") else loss
