"""A batch for the tiny detectors of :mod:`tiny`."""

import pytest
import torch


@pytest.fixture
def batch():
    """Two 64x72 images (odd sizes at the coarser levels) with a box each."""
    gen = torch.Generator().manual_seed(0)
    shape = (64, 72, 3)
    meta = dict(
        img_shape=shape, pad_shape=shape, ori_shape=shape, batch_input_shape=shape[:2],
        scale_factor=1.0, flip=False,
    )  # fmt: skip
    return dict(
        img=torch.randn(2, 3, 64, 72, generator=gen),
        img_metas=[dict(meta), dict(meta)],
        gt_bboxes=[torch.tensor([[8.0, 8.0, 40.0, 44.0]]), torch.tensor([[20.0, 4.0, 50.0, 30.0]])],
        gt_labels=[torch.tensor([1]), torch.tensor([2])],
    )
