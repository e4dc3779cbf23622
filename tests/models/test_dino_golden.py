"""DINO against mmdet 3.3.0's numbers: every array of a golden file.

``FREEKD_GOLDEN`` names another folder; each of its files ``dino_*.npz`` is taken, of any sizes.
"""

from types import SimpleNamespace

import pytest
import torch
from models.dino_file import FILES, FOLDER, File, divisors

pytestmark = pytest.mark.golden
TOLERANCE = 1e-6  # positions and grids are float32 in both packages
OF_GRADIENTS = 1e-6


def close(found, expected, what, tolerance=TOLERANCE):
    found, expected = found.detach().double().squeeze(), expected.double().squeeze()
    assert found.shape == expected.shape, what
    if not expected.numel():
        return
    largest = float(expected.abs().max())
    worst = float((found - expected).abs().max())
    assert worst <= max(tolerance * largest, 1e-12), f"{what}: {worst} of {largest}"


def far(found, expected):
    """How far off, as a share of the largest."""
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.fixture(autouse=True)
def _float64():
    """New tensors of the packages, such as the mask of padding, are float64 too."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def case(request):
    """A file, and those numbers of groups and heads with which its maps and memory come out.

    They stand in no shape: each possible number is tried, and one has to give the file's numbers.
    """
    file = File(request.param)
    batch = next(name for name in file.batches if f"{name}.memory" in file.arrays)
    channels = file.state["query_embedding.weight"].shape[1]
    image = file.tensor(f"{batch}.img")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with torch.no_grad():
        errors = {}
        for groups in divisors(channels):
            maps = file.build(groups, 1).extract_feat(image)
            errors[groups] = max(map(far, maps, file.several(f"{batch}.neck")))
        groups = min(errors, key=errors.get)
        rows = len(file.state["encoder.layers.0.self_attn.attention_weights.bias"])
        of_point = rows // len(file.state["level_embed"])
        errors = {}
        for heads in divisors(of_point):
            if channels % heads == 0:
                seen = run(file.build(groups, heads), file, batch)
                errors[heads] = far(seen.memory, file.tensor(f"{batch}.memory"))
        heads = min(errors, key=errors.get)
    torch.set_default_dtype(before)
    return SimpleNamespace(file=file, groups=groups, heads=heads)


def model_of(case, batch):
    """With as many denoising queries as give the batch's groups, and results as it has."""
    file = case.file
    most = max(len(boxes) for boxes in file.truth(batch)[0])
    results = file.arrays.get(f"{batch}.eval.result.0.scores", [0])
    queries = int(file.arrays[f"{batch}.dn.num_groups"]) * max(most, 1)
    return file.build(case.groups, case.heads, queries, max(len(results), 1))


def run(model, file, batch, train=False, monkeypatch=None):
    """A forward, in training with the file's noise; what encoder, selection and decoder saw."""
    seen = SimpleNamespace(assigned=[])
    transformer = model.bbox_head.transformer

    def encoder(module, args, kwargs, output):
        seen.encoder, seen.memory = kwargs, output.transpose(0, 1)

    def decoder(module, args, kwargs, output):
        seen.decoder, (states, seen.refined) = kwargs, output
        seen.states = states.transpose(1, 2)

    handles = [
        transformer.encoder.register_forward_hook(encoder, with_kwargs=True),
        transformer.decoder.register_forward_hook(decoder, with_kwargs=True),
    ]
    chosen = transformer.chosen

    def remember(scores):
        seen.best = chosen(scores)
        return seen.best

    transformer.chosen = remember
    feats, metas = model.extract_feat(file.tensor(f"{batch}.img")), file.metas(batch)
    seen.neck = feats
    head = model.bbox_head
    if not train:
        seen.outputs = head(feats, metas)
    else:
        from freekd.models.dino import denoising

        noise = denoising.Noise(
            *(file.tensor(f"{batch}.noise.{name}") for name in ("p", "new", "sign", "part"))
        ) if f"{batch}.noise.p" in file.arrays else None  # fmt: skip

        def draw(count, num_classes, like):
            assert count == (0 if noise is None else len(noise.chance))
            return noise or empty_noise(denoising)

        monkeypatch.setattr(denoising, "draw_noise", draw)
        assign = head.assigner.assign

        def assigned(*args, **kwargs):
            result = assign(*args, **kwargs)
            seen.assigned.append(result.gt_inds)
            return result

        head.assigner.assign = assigned
        forward = head.forward

        def record(feats, metas, dn=None):
            seen.dn, seen.outputs = dn, forward(feats, metas, dn)
            return seen.outputs

        head.forward = record
        seen.losses = head.forward_train(feats, metas, *file.truth(batch))
    for handle in handles:
        handle.remove()
    return seen


def empty_noise(denoising):
    nothing = torch.zeros(0, 4)
    return denoising.Noise(nothing[:, 0], nothing[:, 0].long(), nothing, nothing)


def batches(case, array):
    return [batch for batch in case.file.batches if f"{batch}.{array}" in case.file.arrays]


def test_there_is_a_file():
    assert FILES, f"no dino_*.npz in FREEKD_GOLDEN={FOLDER}"


def test_reference_numbers(case, monkeypatch):
    """Every array of the file that is no input is compared with ours."""
    check_evaluation(case)
    check_training(case, monkeypatch)
    assert case.file.unread() == []


def check_evaluation(case):
    """From the image to the results."""
    file = case.file
    assert batches(case, "memory")
    for batch in batches(case, "memory"):
        model = model_of(case, batch)
        with torch.no_grad():
            seen = run(model, file, batch)
        for level, (found, expected) in enumerate(zip(seen.neck, file.several(f"{batch}.neck"))):
            close(found, expected, f"{batch}.neck.{level}")
        assert len(seen.neck) == len(file.several(f"{batch}.neck"))
        expected = {
            "spatial_shapes": seen.encoder["spatial_shapes"],
            "valid_ratios": seen.encoder["valid_ratios"],
            "pos_plus_level": seen.encoder["query_pos"].transpose(0, 1),
            "memory": seen.memory,
            "topk_indices": seen.best,
            "eval.init_reference": seen.decoder["reference_points"],
            "eval.hidden_states": seen.states,
            "eval.references": torch.cat((seen.decoder["reference_points"][None], seen.refined)),
            "eval.cls_logits": seen.outputs[0],
            "eval.boxes_cxcywh": seen.outputs[1],
        }
        padded = seen.encoder["query_key_padding_mask"]
        if f"{batch}.padding_mask" in file.arrays or padded.any():
            expected["padding_mask"] = padded
        for name, found in expected.items():
            close(found, file.tensor(f"{batch}.{name}"), f"{batch}.{name}")
        metas = file.metas(batch)
        for rescale, name in ((True, "bboxes"), (False, "bboxes_not_rescaled")):
            results = model.bbox_head.get_bboxes(*seen.outputs, metas, rescale=rescale)
            for i, (boxes, labels) in enumerate(results):
                start = f"{batch}.eval.result.{i}"
                close(boxes[:, :4], file.tensor(f"{start}.{name}"), f"{start}.{name}")
                close(boxes[:, 4], file.tensor(f"{start}.scores"), f"{start}.scores")
                assert labels.tolist() == file.arrays[f"{start}.labels"].tolist()


def check_training(case, monkeypatch):
    """Denoising with the file's noise, every loss and every gradient."""
    from freekd.models.dino.names import to_mmdet3

    file = case.file
    for batch in batches(case, "loss_total"):
        model = model_of(case, batch).train()
        seen = run(model, file, batch, True, monkeypatch)
        assert seen.dn.groups == int(file.arrays[f"{batch}.dn.num_groups"])
        assert seen.dn.count == int(file.arrays[f"{batch}.dn.num_queries"])
        if f"{batch}.train.query" in file.arrays:
            check_queries(seen, file, batch)
        start = f"{batch}.loss."
        losses = {n[len(start) :]: file.tensor(n) for n in file.arrays if n.startswith(start)}
        assert set(losses) == set(seen.losses)
        for name, expected in losses.items():
            close(seen.losses[name], expected, f"{start}{name}")
        total = sum(loss.sum() for loss in seen.losses.values())
        close(total, file.tensor(f"{batch}.loss_total"), f"{batch}.loss_total")
        total.backward()
        check_gradients(model, file, batch, to_mmdet3)


def check_queries(seen, file, batch):
    scores, boxes, chosen_scores, chosen_boxes = seen.outputs
    expected = {
        "dn.label_query": seen.dn.content,
        "dn.reference": seen.dn.reference.sigmoid(),
        "dn.attn_mask": seen.dn.attention_mask(chosen_scores.shape[1]),
        "train.query": seen.decoder["query"].transpose(0, 1),
        "train.topk_score": chosen_scores,
        "train.topk_coords": chosen_boxes,
        "train.hidden_states": seen.states,
        "train.references": torch.cat((seen.decoder["reference_points"][None], seen.refined)),
        "train.cls_logits": scores,
        "train.boxes_cxcywh": boxes,
    }
    for name, found in expected.items():
        close(found, file.tensor(f"{batch}.{name}"), f"{batch}.{name}")
    images = len(scores[0])
    rows = [*(f"layer{i}" for i in range(len(scores))), "encoder"]
    names = [f"{batch}.train.assigned.{row}.{i}" for row in rows for i in range(images)]
    assert len(names) == len(seen.assigned)
    for name, found in zip(names, seen.assigned):
        assert found.tolist() == file.arrays[name].tolist(), name


def check_gradients(model, file, batch, to_mmdet3):
    found = {to_mmdet3(n): p.grad for n, p in model.named_parameters() if p.grad is not None}
    for kind in ("grad_norm", "grad"):
        start = f"{batch}.{kind}."
        names = [name[len(start) :] for name in file.arrays if name.startswith(start)]
        assert names or kind == "grad"
        for name in names:
            ours = found[name].norm() if kind == "grad_norm" else found[name]
            close(ours, file.tensor(start + name), start + name, OF_GRADIENTS)
