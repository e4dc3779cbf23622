"""``SegmentAnything``: sizes, weights, what learns, prompts; and export into the package's own."""

import builtins

import numpy as np
import pytest
import torch
from sam_tiny import ARCH, SIDE, annotated, rectangle

from freekd.models.sam import SegmentAnything, build_sam
from freekd.models.sam.arch import PARTS, VARIANTS, Arch, build_parts, read_arch
from freekd.models.sam.model import DECODER


def tiny(seed=0, **options):
    torch.manual_seed(seed)
    return SegmentAnything(arch=options.pop("arch", ARCH), **options)


def batch(images=2, prompts=((1, 1), (2, 0)), seed=0):
    """Images with so many points and boxes each."""
    generator = torch.Generator().manual_seed(seed)
    found = dict(
        img=torch.randn(images, 3, SIDE, SIDE, generator=generator),
        img_metas=[dict(img_shape=(SIDE, 40, 3))] * images,
        gt_masks=[], gt_points=[], gt_boxes=[], is_box=[],
    )  # fmt: skip
    for points, boxes in prompts:
        count = points + boxes
        masks = torch.zeros(count, SIDE // 4, SIDE // 4, dtype=torch.bool)
        masks[:, 2:7, 1:6] = True
        found["gt_masks"].append(masks)
        found["gt_points"].append(torch.tensor([[12.0, 16.0]]).repeat(count, 1))
        found["gt_boxes"].append(torch.tensor([[4.0, 8.0, 23.0, 27.0]]).repeat(count, 1))
        found["is_box"].append(torch.arange(count) >= points)
    return found


# --------------------------------------------------------------------------- sizes
def weights_of(variant):
    with torch.device("meta"):
        parts = build_parts(VARIANTS[variant])
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


@pytest.mark.slow
def test_the_variants_have_the_released_sizes():
    """Millions of parameters, of the package's own builders; vit_tiny's by the specification."""
    from segment_anything import sam_model_registry

    assert weights_of("vit_tiny")["prompt_encoder"] == 6220
    assert weights_of("vit_tiny")["mask_decoder"] == 4058340
    for variant, millions in dict(vit_b=89.7, vit_l=308.3, vit_h=637.0, vit_tiny=7.01).items():
        assert weights_of(variant)["image_encoder"] / 1e6 == pytest.approx(millions, abs=0.05)
    for variant in ("vit_b", "vit_l", "vit_h"):
        with torch.device("meta"):
            theirs = sam_model_registry[variant]().state_dict()
            ours = SegmentAnything(variant=variant).state_dict()
        assert {n: v.shape for n, v in ours.items()} == {n: v.shape for n, v in theirs.items()}


@pytest.mark.parametrize(
    ("variant", "arch", "words"),
    [
        ("vit_x", None, ["model.variant", "vit_tiny", "'vit_x'"]),
        (None, None, ["model.arch", "embed_dim", "missing"]),
        ("vit_b", dict(width=3), ["model.arch", "['width']"]),
        ("vit_b", dict(num_heads=5), ["model.arch.embed_dim", "num_heads=5", "768"]),
        ("vit_b", dict(out_chans=100), ["model.arch.out_chans", "8", "100"]),
        ("vit_b", dict(depth="a"), ["model.arch.depth", "'a'"]),
        ("vit_b", dict(global_attn_indexes=[12]), ["0 to 11", "[12]"]),
    ],
)
def test_sizes_that_cannot_be(variant, arch, words):
    with pytest.raises(ValueError) as error:
        read_arch(variant, arch, "model")
    assert all(word in str(error.value) for word in words)


def test_without_the_package_one_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("segment_anything"):
            raise ImportError("No module named 'segment_anything'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"freekd\[sam\].*segment-anything==1\.0"):
        tiny()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(frozen=["neck"]), ["model.frozen", "image_encoder"]),
        (dict(mask_loss=1), ["model.mask_loss"]),
        (dict(loss_weights=dict(bce=1)), ["model.loss_weights", "'bce'"]),
        (dict(loss_weights=dict(dice=-1)), ["model.loss_weights.dice", "-1"]),
        (dict(checkpoint="a", decoder_checkpoint="b"), ["model.checkpoint", "Remove one"]),
    ],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(ValueError) as error:
        tiny(**options)
    assert all(word in str(error.value) for word in words)


# --------------------------------------------------------------------------- what learns
def test_every_trainable_weight_has_a_gradient():
    """Of the whole model, with points alone or with points and boxes: no process would wait."""
    for prompts in (((1, 1), (2, 1)), ((1, 0), (1, 0))):
        model = tiny()
        losses = model.forward_train(**batch(prompts=prompts))
        assert set(losses) == {"loss_focal", "loss_dice", "loss_iou"}
        sum(losses.values()).backward()
        assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_frozen_parts_do_not_learn():
    model = tiny(frozen=["image_encoder", "prompt_encoder"])
    sum(model.forward_train(**batch()).values()).backward()
    learning = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert learning == {"mask_decoder"}


def test_the_loss_is_the_mean_over_images():
    """The images one by one, each by itself."""
    model, data = tiny(), batch()
    both = model.forward_train(**data)
    each = [
        model.forward_train(**{name: value[i : i + 1] for name, value in data.items()})
        for i in range(2)
    ]
    for name, value in both.items():
        assert float(value) == pytest.approx(sum(float(one[name]) for one in each) / 2, rel=1e-5)


def test_an_image_without_masks_adds_nothing():
    model, data = tiny(), batch(prompts=((1, 1), (0, 0)))
    both = model.forward_train(**data)
    first = model.forward_train(**{name: value[:1] for name, value in data.items()})
    assert float(both["loss_dice"]) == pytest.approx(float(first["loss_dice"]) / 2, rel=1e-5)
    empty = model.forward_train(**{name: value[1:] for name, value in data.items()})
    sum(empty.values()).backward()
    assert all(not p.grad.any() for p in model.parameters() if p.requires_grad)


def test_padding_does_not_count():
    """What is right of the image, 40 of 64 pixels wide, is in no loss."""
    model, data = tiny(), batch()
    other = [masks.clone() for masks in data["gt_masks"]]
    for masks in other:
        masks[..., 10:] = True
    before, after = model.forward_train(**data), model.forward_train(**dict(data, gt_masks=other))
    assert all(float(before[name]) == float(after[name]) for name in before)


def test_without_mask_loss_the_encoder_alone_runs():
    model = tiny(mask_loss=False)
    model.mask_decoder.forward = None
    data = batch()
    assert model.forward_train(data["img"], data["img_metas"]) == {}
    with pytest.raises(ValueError, match="LoadSamMasks and SamplePrompts"):
        tiny().forward_train(data["img"], data["img_metas"])


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match="image_size=64.*got 32 x 64"):
        tiny().extract_feat(torch.zeros(1, 3, 32, 64))


# --------------------------------------------------------------------------- weights
def test_weights_by_path_are_exact(tmp_path):
    """An official file is bare; ours have a state dict, and of a distillation a prefix."""
    source, path = tiny(seed=1), str(tmp_path / "sam.pth")
    state = source.state_dict()
    prefixed = {f"architecture.model.{name}": value for name, value in state.items()}
    for content in (state, dict(state_dict=state, meta={}), dict(state_dict=prefixed)):
        torch.save(content, path)
        model = tiny(seed=2, checkpoint=path)
        model.init_weights()
        assert all(torch.equal(value, state[n]) for n, value in model.state_dict().items())
    model = tiny(seed=2, decoder_checkpoint=path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.init_weights()
    for name, value in model.state_dict().items():
        taken = name.split(".")[0] in DECODER
        assert torch.equal(value, state[name] if taken else before[name]), name


@pytest.mark.parametrize("change", ["missing", "shape", "more"])
def test_weights_that_do_not_fit_exactly(change, tmp_path):
    state = tiny().state_dict()
    name = "mask_decoder.iou_token.weight"
    if change == "missing":
        del state[name]
    elif change == "shape":
        state[name] = state[name][:, :8]
    else:
        name = "mask_decoder.extra"
        state[name] = torch.zeros(1)
    path = str(tmp_path / "sam.pth")
    torch.save(state, path)
    with pytest.raises(RuntimeError) as error:
        tiny(checkpoint=path).init_weights()
    assert name in str(error.value) and "model.checkpoint" in str(error.value)
    with pytest.raises(FileNotFoundError, match="none.pth"):
        tiny(checkpoint=str(tmp_path / "none.pth")).init_weights()


# --------------------------------------------------------------------------- the package's own
def picture(height=50, width=80):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["point", "box"])
def test_masks_are_those_of_the_predictor(kind, tmp_path):
    """Through our pipeline and our model, and through the package's, on one file."""
    from mmcv.parallel import collate, scatter
    from mmdet.datasets.pipelines import Compose
    from PIL import Image
    from segment_anything import SamPredictor

    import freekd.datasets.sam  # noqa: F401
    from freekd.datasets.sam_pipeline import decoded, prompts_of_masks
    from freekd.datasets.sam_steps import evaluation_steps

    model = tiny(seed=3).eval()
    torch.nn.init.normal_(model.image_encoder.pos_embed)
    image = picture()
    Image.fromarray(image).save(tmp_path / "a.png")
    annotations = [
        annotated(rectangle(50, 80, (5 * i, 4 * i, 5 * i + 20, 4 * i + 9))) for i in range(10)
    ]
    info = dict(filename=str(tmp_path / "a.png"))
    sample = Compose(evaluation_steps(SIDE, kind))(
        dict(img_info=info, img_prefix=None, sam_annotations=annotations)
    )
    data = scatter(collate([sample], 1), [-1])[0]
    with torch.no_grad():
        (found,) = model(return_loss=False, rescale=True, **data)
    predictor = SamPredictor(build_sam(model.arch, {n: model.get_submodule(n) for n in PARTS}))
    predictor.set_image(image)
    for place, prompt in enumerate(prompts_of_masks(annotations, kind)):
        if kind == "point":
            masks, scores, _ = predictor.predict(prompt[None], np.ones(1, int))
        else:
            masks, scores, _ = predictor.predict(box=prompt, multimask_output=False)
        best = int(scores.argmax())
        assert found["iou"][place] == pytest.approx(float(scores[best]), abs=1e-5)
        assert (decoded(found["masks"][place]) != masks[best]).mean() < 1e-3  # ties of float32


def test_an_exported_student_is_a_sam(tmp_path):
    """Strictly in the package's ``Sam``; the same masks by its predictor and its generator."""
    from segment_anything import SamAutomaticMaskGenerator, SamPredictor

    from freekd.convert.student import main

    student = tiny(seed=4)
    torch.nn.init.normal_(student.image_encoder.pos_embed)
    state = student.state_dict()
    kd = {f"architecture.model.{name}": value for name, value in state.items()}
    for number, weights in enumerate((state, kd)):  # of stage 2b, and of stage 2a
        path, out = str(tmp_path / f"{number}.pth"), str(tmp_path / f"bare{number}.pth")
        torch.save(dict(meta=dict(CLASSES=("object",)), state_dict=weights), path)
        assert main([path, "--out-path", out, "--bare"]) == 0
        sam = build_sam(Arch(**ARCH))
        with open(out, "rb") as file:  # as the package's builder reads it
            sam.load_state_dict(torch.load(file))
        image = picture()
        ours = build_sam(student.arch, {n: student.get_submodule(n) for n in PARTS})
        expected, found = (SamPredictor(each) for each in (ours, sam))
        for predictor in (expected, found):
            predictor.set_image(image)
        point = (np.array([[20.0, 30.0]]), np.ones(1, int))
        assert np.array_equal(expected.predict(*point)[0], found.predict(*point)[0])
        options = dict(
            points_per_side=4, pred_iou_thresh=-10.0, stability_score_thresh=-1.0,
            min_mask_region_area=0,
        )  # fmt: skip
        theirs = [
            SamAutomaticMaskGenerator(each, **options).generate(image) for each in (ours, sam)
        ]
        assert [one["area"] for one in theirs[0]] == [one["area"] for one in theirs[1]]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_onnx_by_the_package_s_own_means(tmp_path):
    """As docs/sam.md does it; the decoder with another number of points than it was traced with."""
    onnxruntime = pytest.importorskip("onnxruntime")
    from segment_anything.utils.onnx import SamOnnxModel

    torch.manual_seed(0)
    sam, grid = build_sam(Arch(**ARCH)), SIDE // 16
    torch.nn.init.normal_(sam.image_encoder.pos_embed)
    image = torch.randn(1, 3, SIDE, SIDE)
    with torch.no_grad():
        embedding = sam.image_encoder(image)

    def exported(model, inputs, name, **options):
        path = str(tmp_path / name)
        torch.onnx.export(
            model, tuple(inputs.values()), path, dynamo=False, opset_version=17,
            input_names=list(inputs), **options,
        )  # fmt: skip
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    inputs = dict(image=image)
    (found,) = exported(sam.image_encoder, inputs, "encoder.onnx").run(
        None, {"image": image.numpy()}
    )
    assert np.abs(found - embedding.numpy()).max() < 1e-4
    inputs = dict(
        image_embeddings=embedding, point_coords=torch.zeros(1, 5, 2),
        point_labels=torch.ones(1, 5), mask_input=torch.zeros(1, 1, 4 * grid, 4 * grid),
        has_mask_input=torch.zeros(1), orig_im_size=torch.tensor([50.0, 80.0]),
    )  # fmt: skip
    decoder = SamOnnxModel(sam, return_single_mask=True)
    axes = dict(point_coords={1: "points"}, point_labels={1: "points"})
    session = exported(decoder, inputs, "decoder.onnx", dynamic_axes=axes)
    inputs["point_coords"] = torch.tensor([[[20.0, 30.0], [0.0, 0.0]]])
    inputs["point_labels"] = torch.tensor([[1.0, -1.0]])
    given = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    with torch.no_grad():
        expected = decoder(*inputs.values())
    for ours, theirs in zip(given, expected):
        assert np.abs(ours - theirs.numpy()).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["vit_tiny", "vit_h"])
def test_full_size_loads_in_the_package(variant, tmp_path):
    """As a user does, by the package's own builder."""
    from segment_anything import sam_model_registry
    from segment_anything.build_sam import _build_sam

    path = str(tmp_path / "sam.pth")
    torch.save(SegmentAnything(variant=variant).state_dict(), path)
    if variant == "vit_h":
        sam_model_registry["vit_h"](checkpoint=path)
    else:
        _build_sam(192, 12, 3, [2, 5, 8, 11], checkpoint=path)
