"""Segment Anything against the numbers of the package itself and of public libraries.

``FREEKD_GOLDEN`` names another folder of files of the same layout, of other sizes. All sizes are
told by the shapes of the weights, but the decoder's number of heads: the one that reproduces the
file's decoder is looked for.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from freekd.models.sam.arch import PARTS, Arch
from freekd.models.sam.losses import WEIGHTS, chosen_masks, mask_losses, mask_terms
from freekd.models.sam.predict import (
    Predicted,
    answers,
    at_full_size,
    decode,
    embed_boxes,
    embed_points,
    to_input_frame,
)
from freekd.models.sam.prompts import box_of, low_resolution, moved_box, pixel_of

pytestmark = pytest.mark.golden
FOLDER = Path(os.environ.get("FREEKD_GOLDEN") or Path(__file__).parents[2] / "golden")
FILES = sorted(FOLDER.glob("sam_*.npz"))
FORWARD, EXACT = 1e-4, 1e-6


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def file(request):
    with np.load(request.param) as content:
        return {name: content[name] for name in content.files}


@pytest.fixture(scope="module")
def model(file):
    """Of the sizes that the file's weights have, with these weights, all and no others."""
    from freekd.models.sam.model import SegmentAnything

    start = "state."
    state = {n[len(start) :]: torch.from_numpy(v) for n, v in file.items() if n.startswith(start)}
    arch = arch_of({name: tuple(value.shape) for name, value in state.items()})
    best = None
    for heads in [n for n in (1, 2, 4, 8, 16) if arch["out_chans"] % (2 * n) == 0]:
        found = SegmentAnything(arch=dict(arch, decoder_heads=heads)).eval()
        found.load_state_dict(state, strict=True)
        error = np.abs(all_masks(found, file, 0)[0] - file["image0.all.low_res_logits"]).max()
        best = min(best or (error, heads, found), (error, heads, found), key=lambda each: each[0])
    return best[2]


def arch_of(shapes):
    """All sizes but the decoder's heads."""
    blocks = [name for name in shapes if name.endswith("attn.rel_pos_h")]
    _, grid, _, width = shapes["image_encoder.pos_embed"]
    patch = shapes["image_encoder.patch_embed.proj.weight"][2]
    lengths = {int(name.split(".")[2]): shapes[name] for name in blocks}
    wide = {number for number, shape in lengths.items() if shape[0] == 2 * grid - 1}
    narrow = [shape[0] for number, shape in lengths.items() if number not in wide]
    mlp = shapes["mask_decoder.transformer.layers.0.mlp.lin1.weight"][0]
    layers = {
        name.split(".")[3] for name in shapes if name.startswith("mask_decoder.transformer.l")
    }
    head = [name for name in shapes if "iou_prediction_head.layers" in name and "weight" in name]
    return dict(
        embed_dim=width, depth=len(blocks), num_heads=width // lengths[0][1],
        global_attn_indexes=sorted(wide), image_size=grid * patch, patch_size=patch,
        window_size=(narrow[0] + 1) // 2 if narrow else 0,
        mlp_ratio=shapes["image_encoder.blocks.0.mlp.lin1.weight"][0] / width,
        out_chans=shapes["mask_decoder.iou_token.weight"][1], decoder_mlp=mlp,
        decoder_depth=len(layers), iou_depth=len(head),
        iou_hidden=shapes["mask_decoder.iou_prediction_head.layers.0.weight"][0],
        mask_chans=shapes["prompt_encoder.mask_downscaling.3.weight"][0],
    )  # fmt: skip


def images_of(file):
    return sorted({int(name.split(".")[0][5:]) for name in file if name.startswith("image")})


def in_input(file, i):
    """Points and boxes of an image in the frame of the model's input."""
    size, original = file[f"image{i}.input_size"], file[f"image{i}.rgb"].shape[:2]
    points = to_input_frame(file[f"image{i}.points_xy"], original, size)
    boxes = to_input_frame(file[f"image{i}.boxes_xyxy"].reshape(-1, 2, 2), original, size)
    return torch.tensor(points).float(), torch.tensor(boxes.reshape(-1, 4)).float()


@torch.no_grad()
def all_masks(model, file, i):
    points, boxes = in_input(file, i)
    is_box = torch.arange(len(points) + len(boxes)) >= len(points)
    embedding = torch.from_numpy(file[f"image{i}.embedding"])
    found = model.predict_all(
        embedding, torch.cat([points, points.new_zeros(len(boxes), 2)]),
        torch.cat([boxes.new_zeros(len(points), 4), boxes]), is_box,
    )  # fmt: skip
    return found.logits.numpy(), found.iou.numpy()


def close(found, expected, tolerance):
    found = found.detach().numpy() if torch.is_tensor(found) else np.asarray(found)
    assert found.shape == expected.shape
    assert np.abs(found.astype(np.float64) - expected).max() <= tolerance


def test_there_is_a_file():
    assert FILES, f"no sam_*.npz in FREEKD_GOLDEN={FOLDER}"


def test_weights_fit_exactly(model, file):
    names = {name[len("state.") :] for name in file if name.startswith("state.")}
    assert set(model.state_dict()) == names
    assert {name.split(".")[0] for name in names} == set(PARTS)
    assert isinstance(model.arch, Arch)


def test_the_pipeline_gives_the_encoder_s_input_exactly(model, file, tmp_path):
    from mmdet.datasets.pipelines import Compose

    import freekd.datasets.sam  # noqa: F401  (registers the steps)
    from freekd.datasets.sam_steps import evaluation_steps

    for i in images_of(file):
        path = tmp_path / f"{i}.png"
        Image.fromarray(file[f"image{i}.rgb"]).save(path)
        run = Compose(evaluation_steps(model.arch.image_size))
        sample = run(
            dict(
                img_info=dict(filename=str(path)), img_prefix=None,
                sam_annotations=[dict(point_coords=[[1, 1]])],
            )
        )  # fmt: skip
        found, meta = sample["img"][0], sample["img_metas"][0].data
        assert np.array_equal(found[None].numpy(), file[f"image{i}.input"])
        assert tuple(meta["img_shape"][:2]) == tuple(file[f"image{i}.input_size"])


def test_embeddings(model, file):
    for i in images_of(file):
        with torch.no_grad():
            found = model.extract_feat(torch.from_numpy(file[f"image{i}.input"]))
        close(found, file[f"image{i}.embedding"], FORWARD)


def test_points_and_boxes_together(model, file):
    for i in images_of(file):
        logits, iou = all_masks(model, file, i)
        close(logits, file[f"image{i}.all.low_res_logits"], FORWARD)
        close(iou, file[f"image{i}.all.iou_predictions"], FORWARD)


@pytest.mark.parametrize("kind", ["point", "box"])
def test_each_alone(model, file, kind):
    """As ``SamPredictor`` gives them, at the decoder's resolution and at the image's."""
    embed, masks = (embed_points, slice(1, None)) if kind == "point" else (embed_boxes, slice(0, 1))
    for i in images_of(file):
        prompts = in_input(file, i)[int(kind == "box")]
        embedding = torch.from_numpy(file[f"image{i}.embedding"])
        with torch.no_grad():
            tokens = embed(model.prompt_encoder, prompts)
            found = decode(model.prompt_encoder, model.mask_decoder, embedding, [tokens])
        size, original = file[f"image{i}.input_size"], file[f"image{i}.rgb"].shape[:2]
        full = at_full_size(found.logits, model.arch.image_size, size, original)[:, masks]
        close(found.logits[:, masks], file[f"image{i}.{kind}.low_res_logits"], FORWARD)
        close(found.iou[:, masks], file[f"image{i}.{kind}.iou_predictions"], FORWARD)
        close(full, file[f"image{i}.{kind}.logits"], FORWARD)
        best, iou = answers(Predicted(found.logits, found.iou), kind)
        rank = file[f"image{i}.{kind}.iou_predictions"].argmax(1)
        rows = np.arange(len(rank))
        close(best[:, 0], file[f"image{i}.{kind}.low_res_logits"][rows, rank], FORWARD)
        close(iou, file[f"image{i}.{kind}.iou_predictions"][rows, rank], FORWARD)


def cases_of(file):
    return sorted({name.split(".")[0] for name in file if name.startswith("loss_")})


def test_losses_of_the_masks(file):
    assert cases_of(file)
    for case in cases_of(file):
        read = {n[len(case) + 1 :]: v for n, v in file.items() if n.startswith(f"{case}.")}
        logits = torch.tensor(read["logits"], dtype=torch.float64, requires_grad=True)
        iou = torch.tensor(read["iou_predictions"], dtype=torch.float64, requires_grad=True)
        target, is_box = torch.tensor(read["target"]), torch.tensor(read["is_box"])
        valid = tuple(int(side) for side in read["valid_hw"])
        terms = mask_terms(logits, target, valid)
        for name, found in terms._asdict().items():
            close(found, read[f"each.{name}"], EXACT)
        assert chosen_masks(terms, is_box, WEIGHTS).tolist() == read["each.chosen"].tolist()
        losses = mask_losses(logits, iou, target, is_box, valid)
        for name, found in losses.items():
            close(found, read[name], EXACT)
        total = sum(losses.values())
        close(total, read["total"], EXACT)
        total.backward()
        close(logits.grad, read["grad.logits"], EXACT)
        close(iou.grad, read["grad.iou_predictions"], EXACT)


def test_prompts_and_targets(model, file):
    masks, u, z = (file[f"prompts.{name}"] for name in ("masks", "u", "z"))
    height, width = masks.shape[1:]
    assert [pixel_of(m, x) for m, x in zip(masks, u)] == list(
        map(tuple, file["prompts.points_xy"].tolist())
    )
    boxes = np.stack([box_of(mask) for mask in masks])
    close(boxes, file["prompts.boxes_clean"], EXACT)
    moved = np.stack([moved_box(box, each, height, width) for box, each in zip(boxes, z)])
    close(moved, file["prompts.boxes_noisy"], EXACT)
    targets = file["prompts.targets_low_res"]
    assert np.array_equal(low_resolution(masks, 4 * targets.shape[-1]), targets)


def test_mean_iou(file):
    from freekd.datasets.sam_scores import mask_ious, mean_with_error
    from freekd.models.sam.predict import rle_of

    each = []
    for i in range(sum(name.startswith("miou.teacher.") for name in file)):
        teacher, student = (
            [rle_of(mask) for mask in file[f"miou.{who}.{i}"]] for who in ("teacher", "student")
        )
        each.append(mask_ious(student, teacher))
    close(np.concatenate(each), file["miou.each"], EXACT)
    close(mean_with_error(each)[0], file["miou.mean"], EXACT)
