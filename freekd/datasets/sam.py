"""Images and masks in SA-1B's layout as a data set of mmdet, and its scores.

Beside each ``name.jpg`` lies ``name.json``: ``image`` (image_id, width, height, file_name) and
``annotations``, each with ``segmentation`` (COCO's run-length form), ``bbox`` (x, y, width,
height), ``area`` and ``point_coords`` [[x, y]], the click that made the mask. Importing this
registers the data set and the steps of its pipelines.
"""

import copy
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np

from freekd import compat

compat.apply()  # before mmdet is imported

from mmdet.datasets.builder import DATASETS  # noqa: E402
from mmdet.datasets.custom import CustomDataset  # noqa: E402
from mmdet.datasets.pipelines import Compose  # noqa: E402

from freekd.config.errors import ConfigError  # noqa: E402
from freekd.datasets.sam_pipeline import prompts_of_masks  # noqa: E402
from freekd.datasets.sam_reference import read_reference  # noqa: E402
from freekd.datasets.sam_scores import mask_ious, scores_of  # noqa: E402

SUFFIXES = (".jpg", ".jpeg", ".png")
_TRIES = 100  # images in a row without a mask that can be used


@DATASETS.register_module()
class SegmentAnythingDataset(CustomDataset):  # type: ignore[misc]
    """A folder of images with masks in SA-1B's layout, see the module.

    Args:
        data_root: the folder.
        pipeline: steps.
        ann_file: a text file with the images' paths in the folder, one a line, as
            ``tools/list_sa1b.py`` writes it; None: all images under the folder, in the order of
            their names.
        masks: False: the images alone, of any folder.
        reference: the teacher's masks, as ``tools/sam_reference.py`` writes them: mIoU is to these.
        test_mode: every image counts, with or without masks.
        most: the first so many images; None: all.

    Raises:
        ValueError, FileNotFoundError: no images, a list that names a file that is not there, or a
            reference that was made of other images; names the key.
    """

    CLASSES = ("object",)

    def __init__(
        self,
        data_root: str,
        pipeline: Sequence[Mapping[str, Any]],
        ann_file: Optional[str] = None,
        masks: bool = True,
        reference: Optional[str] = None,
        test_mode: bool = False,
        most: Optional[int] = None,
    ) -> None:
        self.data_root, self.ann_file, self.masks = str(data_root), ann_file, masks
        self.test_mode = test_mode
        self.img_prefix, self.proposals = self.data_root, None
        names = _listed(self.data_root, ann_file)[:most]
        self.data_infos = [dict(filename=name) for name in names]
        self.flag = np.zeros(len(names), dtype=np.uint8)
        self.pipeline = Compose(copy.deepcopy(list(pipeline)))
        wanting = [
            type(step).__name__ for step in self.pipeline.transforms
            if type(step).__name__ in ("LoadSamMasks", "SamTestPrompts")
        ]  # fmt: skip
        if wanting and not masks:
            raise ValueError(
                f"masks=False: expected a pipeline for images alone, got one with {wanting[0]}, "
                f"which reads the masks. Remove masks=False, or {wanting[0]} and what follows of it"
            )
        self.prompt_steps = [
            step for step in self.pipeline.transforms if type(step).__name__ == "SamTestPrompts"
        ]
        self.reference_file = reference
        self.reference: Optional[List[Dict[str, Any]]] = None
        if reference is not None:
            wanted = self.prompt_steps[0].prompt if self.prompt_steps else "point"
            self.reference = read_reference(reference, names, wanted)
            self._check_prompts(self.reference)

    def __len__(self) -> int:
        return len(self.data_infos)

    @property
    def file_names(self) -> List[str]:
        """The images' paths in the folder, in order."""
        return [info["filename"] for info in self.data_infos]

    # ----------------------------------------------------------------- samples
    def annotations_of(self, index: int) -> List[Dict[str, Any]]:
        """What the ``.json`` beside an image says of its masks.

        Raises:
            ConfigError: it is not there, or no such file.
        """
        path = Path(self.data_root, self.data_infos[index]["filename"]).with_suffix(".json")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["annotations"]
            for one in found:
                if not isinstance(one["segmentation"]["counts"], str):
                    raise TypeError("'counts' is not run-length coded as a text")
                one["segmentation"]["size"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path}: expected a file in SA-1B's layout, with 'annotations' that have a "
                f"run-length coded 'segmentation', got {type(error).__name__}: {error}. Set "
                "masks=False for images without masks"
            ) from error
        annotations: List[Dict[str, Any]] = found
        return annotations

    def _sample(self, index: int) -> Optional[Dict[str, Any]]:
        results = dict(img_info=self.data_infos[index], img_prefix=self.img_prefix)
        if self.masks:
            results["sam_annotations"] = self.annotations_of(index)
        sample: Optional[Dict[str, Any]] = self.pipeline(results)
        return sample

    def __getitem__(self, index: int) -> Dict[str, Any]:
        """A sample; in training, of the next image where this one has no mask to learn from.

        Raises:
            ConfigError: a hundred images in a row have none.
        """
        for step in range(1 if self.test_mode else min(_TRIES, len(self))):
            sample = self._sample((index + step) % len(self))
            if sample is not None:
                return sample
        raise ConfigError(
            f"data.train: no mask to learn from in {self.file_names[index]} and those that follow "
            f"({_TRIES} at most). LoadSamMasks leaves out empty masks and those of nearly the "
            "whole image; check data_root"
        )

    def prepare_test_img(self, idx: int) -> Dict[str, Any]:
        """The sample of an image."""
        return self[idx]

    prepare_train_img = prepare_test_img

    def get_ann_info(self, idx: int) -> Dict[str, Any]:
        """Boxes and labels of an image, as mmdet's tools ask for them."""
        boxes = [one["bbox"] for one in self.annotations_of(idx)] if self.masks else []
        corners = np.array(boxes, dtype=np.float32).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        return dict(bboxes=corners, labels=np.zeros(len(corners), dtype=np.int64))

    # ----------------------------------------------------------------- evaluation
    def evaluate(
        self, results: Sequence[Mapping[str, Any]], metric: Any = "mIoU", logger: Any = None
    ) -> Dict[str, float]:
        """How alike masks are, as means over all prompts with their standard errors.

        ``mIoU`` is to the masks of ``reference``, and is left out without one; ``mIoU_annotation``
        to those of the annotations.

        Args:
            results: of each image ``masks``, as ``SegmentAnything`` gives them.
            metric: ``mIoU``.
            logger: not used.

        Raises:
            KeyError: another metric.
            ConfigError: not as many results as images or prompts.
        """
        for name in [metric] if isinstance(metric, str) else metric:
            if name != "mIoU":
                raise KeyError(f"metric {name!r} is not supported; expected 'mIoU'")
        if len(results) != len(self):
            raise ConfigError(f"expected results of {len(self)} images, got {len(results)}")
        scores: Dict[str, float] = {}
        found = [result["masks"] for result in results]
        if self.reference is not None:
            expected = [one["masks"] for one in self.reference]
            scores.update(scores_of("mIoU", self._ious(found, expected, self.reference_file)))
        annotated = [
            [one["segmentation"] for one in self.annotations_of(index)[: len(found[index])]]
            for index in range(len(self))
        ]
        scores.update(scores_of("mIoU_annotation", self._ious(found, annotated, "the .json files")))
        return scores

    def _ious(self, found: Any, expected: Any, where: Any) -> List[np.ndarray]:
        for name, ours, theirs in zip(self.file_names, found, expected):
            if len(ours) != len(theirs):
                raise ConfigError(
                    f"{name}: expected {len(theirs)} masks, as {where} has them, got {len(ours)}. "
                    "Make the reference again with this pipeline"
                )
        return [mask_ious(ours, theirs) for ours, theirs in zip(found, expected)]

    def _check_prompts(self, reference: Sequence[Mapping[str, Any]]) -> None:
        """Before training: the reference's masks are those of the prompts of this pipeline.

        Raises:
            ValueError: another number of masks than of prompts, or masks of other clicks.
        """
        for index, one in enumerate(reference if self.prompt_steps else ()):
            annotations = self.annotations_of(index)[: self.prompt_steps[0].most]
            fits = len(one["masks"]) == len(annotations)
            clicked = all(annotation.get("point_coords") for annotation in annotations)
            if fits and clicked and "prompts" in one and self.prompt_steps[0].prompt == "point":
                ours, theirs = self.prompts_of(index), _rows(one["prompts"])
                fits = ours.shape == theirs.shape and bool(np.allclose(ours, theirs, atol=0.01))
            if not fits:
                raise ValueError(
                    f"data.test.reference={self.reference_file!r}: {self.file_names[index]} has "
                    f"{len(annotations)} prompts here, and the masks there are {len(one['masks'])} "
                    "or of other prompts. Make it again with this data and this pipeline: python "
                    "tools/sam_reference.py"
                )

    def prompts_of(self, index: int) -> np.ndarray:
        """The prompts of an image as the test pipeline makes them, (K, 2) or (K, 4)."""
        step = self.prompt_steps[0]
        return prompts_of_masks(self.annotations_of(index)[: step.most], step.prompt)


def _rows(prompts: Any) -> np.ndarray:
    return np.asarray(prompts, dtype=np.float64).reshape(-1, 2)


def _listed(root: str, ann_file: Optional[str]) -> List[str]:
    folder = Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"data_root={root!r}: expected a folder of images in SA-1B's layout, found none. For "
            "the bundled one: python tools/make_digits.py --task sam"
        )
    if ann_file is None:
        names = [
            str(path.relative_to(folder))
            for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in SUFFIXES
        ]
    else:
        path = folder / ann_file  # an absolute one stands for itself
        if not path.is_file():
            raise FileNotFoundError(
                f"ann_file={ann_file!r}: expected a list of images at {path}, found none. Write it "
                f"with python tools/list_sa1b.py {root}"
            )
        lines = path.read_text(encoding="utf-8").splitlines()
        names = [line.strip() for line in lines if line.strip()]
    if names and not (folder / names[0]).is_file():
        raise FileNotFoundError(
            f"ann_file={ann_file!r}: it names {names[0]}, which is not in data_root={root!r}. "
            f"Write it again with python tools/list_sa1b.py {root}"
        )
    return names
