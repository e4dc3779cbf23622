"""The scenes' study in other forms of the loss: each coefficient alike; the paper's raw L1.

python tools/study.py configs/studies/scenes_forms.py --jobs 2        (docs/evidence_more.md)

After scenes_prompts.py, whose prompts it takes.
"""

from freekd.study.shorthand import loss_row

name = "scenes_forms"
work_dir = "work_dirs/studies/scenes_forms"
baseline = "uniform"
seeds = [0, 1, 2]
_prompts = "work_dirs/studies/scenes_prompts/{}/prompts.pth"
_forms = dict(  # with the weights of scenes_weights.py
    band=dict(loss_weight=1.0),
    map=dict(loss_weight=100.0, average="map"),
    raw=dict(loss_weight=0.01, normalize=None, distance="l1"),
)
_labels = dict(band="", map="each coefficient alike: ", raw="L1 of raw maps: ")
_masks = dict(gate=None, mask_norm="mean")
_places = dict(
    uniform=("all places alike", dict(prompts=None)),
    boxes_50=("boxes get half", dict(prompts=None, where="boxes", box_share=0.5)),
    boxes_25=("boxes get a quarter", dict(prompts=None, where="boxes", box_share=0.25)),
    outside=("all weight outside boxes", dict(prompts=None, where="boxes", box_share=0.0)),
    energy=("the teacher's energy", dict(prompts=None, where="energy")),
    prompts=("prompts as published", dict(prompts=_prompts.format("published"), **_masks)),
    noise=("noise for what is masked", dict(prompts=_prompts.format("bottleneck"), **_masks)),
)
rows = {}
for _form, _of_form in _forms.items():
    for _place, (_label, _of_place) in _places.items():
        if _form != "band" and _place in ("boxes_25", "outside"):
            continue
        if _form == "band" and _place in ("boxes_50", "energy", "prompts", "noise"):
            continue  # in scenes_prompts.py
        rows[_place if _form == "band" else f"{_form}_{_place}"] = loss_row(
            "configs/freekd/retinanet_r18w32_r18w8_scenes.py",
            "freekd",
            _labels[_form] + _label,
            **{**_of_form, **_of_place},
            shift=False,
        )
