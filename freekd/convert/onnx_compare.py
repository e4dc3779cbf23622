"""A model's results in torch and in onnxruntime on one image, compared."""

from typing import Any, NamedTuple

import numpy as np
import torch

from freekd.convert.student import ConversionError

BOX_TOLERANCE, SCORE_TOLERANCE = 1e-2, 1e-3  # pixels; probability


class Agreement(NamedTuple):
    """How torch's result and onnxruntime's compare on one image."""

    what: str  # 'detections' or 'pixels'
    total: int
    equal: int
    largest: str  # the largest differences among the equal ones, in words

    def __str__(self) -> str:
        if self.total == 0:
            return "no detection on this image, in torch and onnxruntime alike: nothing compared"
        return f"{self.equal} of {self.total} {self.what} agree{self.largest}"


def compare_detections(ours: np.ndarray, onnx: np.ndarray) -> Agreement:
    """Match two sets of detections (n, 6): box, score, label; each at most once, best first.

    A pair agrees with the same label, boxes within BOX_TOLERANCE, scores within SCORE_TOLERANCE.
    """
    free = np.ones(len(onnx), dtype=bool)
    equal, box, score = 0, 0.0, 0.0
    for row in ours[np.argsort(-ours[:, 4], kind="stable")]:
        boxes = np.abs(onnx[:, :4] - row[:4]).max(axis=1, initial=0.0)
        scores = np.abs(onnx[:, 4] - row[4])
        fits = free & (onnx[:, 5] == row[5])
        fits &= (boxes <= BOX_TOLERANCE) & (scores <= SCORE_TOLERANCE)
        if fits.any():
            best = int(np.argmin(np.where(fits, boxes, np.inf)))
            free[best] = False
            equal += 1
            box, score = max(box, float(boxes[best])), max(score, float(scores[best]))
    largest = f" (largest difference of a box {box:.1e} pixels, of a score {score:.1e})"
    return Agreement("detections", max(len(ours), len(onnx)), equal, largest)


def compare_pixels(ours: np.ndarray, onnx: np.ndarray) -> Agreement:
    """Compare two label maps."""
    if ours.shape != onnx.shape:
        raise ConversionError(f"torch gives a label map {ours.shape}, onnxruntime {onnx.shape}.")
    return Agreement("pixels", ours.size, int((ours == onnx).sum()), "")


def compare_with_torch(
    model: Any, task: str, onnx_path: str, example: torch.Tensor, meta: Any
) -> Agreement:
    """Run both on one image.

    Args:
        model: A stock detector or segmentor.
        task: ``det`` or ``seg``.
        onnx_path: What the stock tool wrote for it.
        example: The image (1, 3, H, W), normalised.
        meta: Its meta, as mmdet and mmseg pass it.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {session.get_inputs()[0].name: example.numpy()})
    with torch.no_grad():
        ours = model([example], [[meta]], return_loss=False, rescale=True)[0]
    if task == "seg":
        return compare_pixels(np.asarray(ours), np.squeeze(outputs[0]))
    rows = [np.c_[part, np.full(len(part), label)] for label, part in enumerate(ours)]
    onnx_rows = np.c_[outputs[0][0], outputs[1][0]]
    threshold = (model.test_cfg.get("rcnn") or model.test_cfg).get("score_thr", 0.0)
    # the exported NMS fills up with boxes of score 0
    return compare_detections(np.concatenate(rows), onnx_rows[onnx_rows[:, 4] > threshold])
