"""Draws docs/architecture.svg: ``python docs/draw_architecture.py``."""

from pathlib import Path

BOX = {
    "frozen": ("#dbe7f5", "#3b6ea5"),
    "learns": ("#fbe3c4", "#c77700"),
    "maths": ("#eef3ea", "#5d8a4a"),
    "file": ("#f3eef8", "#7a5aa6"),
    "loss": ("#fde0e0", "#b63a3a"),
}
parts = []


def box(x, y, w, h, kind, *lines):
    fill, edge = BOX[kind]
    parts.append(
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="7" fill="{fill}" stroke="{edge}"/>'
    )
    for i, line in enumerate(lines):
        size, weight = (13, "600") if i == 0 else (11, "400")
        top = y + h / 2 + 4.5 + (i - (len(lines) - 1) / 2) * 15
        parts.append(
            f'<text x="{x + w / 2}" y="{top}" text-anchor="middle" font-size="{size}" '
            f'font-weight="{weight}">{line}</text>'
        )


def arrow(points, label="", dashed=False, at=None):
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    path = " ".join(f"{x},{y}" for x, y in points)
    parts.append(
        f'<polyline points="{path}" fill="none" stroke="#444" stroke-width="1.4"{dash} '
        'marker-end="url(#head)"/>'
    )
    if label:
        x, y = at or ((points[0][0] + points[-1][0]) / 2, points[0][1] - 7)
        parts.append(
            f'<text x="{x}" y="{y}" text-anchor="middle" font-size="11" fill="#333">{label}</text>'
        )


def text(x, y, content, size=15, weight="700"):
    parts.append(
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}">{content}</text>'
    )


text(20, 30, "Stage 1: prompts learn inside the frozen teacher (configs/prompt)")
box(20, 60, 120, 50, "frozen", "teacher", "backbone, neck")
box(190, 60, 110, 50, "maths", "DWT", "10 bands per level")
box(350, 60, 170, 50, "learns", "masks = sigmoid(P R)", "prompts P (B, T, C)")
box(570, 60, 120, 50, "maths", "mask and IDWT", "sum over T, crop")
box(740, 60, 120, 50, "frozen", "teacher", "head")
box(350, 150, 170, 44, "learns", "gate: channel weights", "G(softmax(next F^T))")
box(740, 150, 120, 44, "loss", "L_finetune", "the task's own loss")
box(568, 150, 124, 44, "loss", "L_dis", "Jaccard of T masks")
box(350, 225, 170, 40, "file", "prompts.pth", "prompts, gate, what for")
arrow([(140, 85), (190, 85)], "F")
arrow([(300, 85), (350, 85)], "R")
arrow([(520, 85), (570, 85)])
arrow([(690, 85), (740, 85)], "F'")
arrow([(800, 110), (800, 150)])
arrow([(165, 85), (165, 172), (350, 172)])
arrow([(520, 165), (545, 165), (545, 100), (570, 100)])
arrow([(535, 85), (535, 185), (570, 185)])
arrow([(435, 194), (435, 225)])

text(
    20, 312, "Stage 2: the student learns the teacher's bands where the masks look (configs/freekd)"
)
box(20, 335, 120, 50, "frozen", "teacher", "no prompts, no head")
box(20, 455, 120, 50, "learns", "student", "backbone, neck")
box(20, 560, 120, 44, "learns", "student's head")
box(190, 455, 110, 50, "learns", "align phi", "1x1 conv, resize")
box(350, 335, 170, 50, "maths", "masks and gate", "frozen, no gradient")
box(350, 455, 170, 50, "maths", "DWT(F_t - F_s)", "one transform, linear")
box(570, 395, 290, 50, "loss", "L_FreeKD", "sum over bands: mean( gate mask |difference| )")
box(570, 560, 290, 44, "loss", "L_task + mu L_FreeKD", "log: ratio.freekd = mu L_FreeKD / L_task")
arrow([(140, 360), (350, 360)], "F_t")
arrow([(435, 265), (435, 335)], "", dashed=True)
arrow([(140, 480), (190, 480)], "F_s")
arrow([(300, 480), (350, 480)])
arrow([(325, 360), (325, 468), (350, 468)])
arrow([(520, 360), (545, 360), (545, 412), (570, 412)])
arrow([(520, 480), (545, 480), (545, 428), (570, 428)])
arrow([(80, 505), (80, 560)])
arrow([(140, 582), (570, 582)], "task loss", at=(355, 575))
arrow([(715, 445), (715, 560)])

for i, (kind, label) in enumerate(
    (("frozen", "frozen"), ("learns", "learns"), ("maths", "computed"), ("file", "file"),
     ("loss", "loss"))
):  # fmt: skip
    fill, edge = BOX[kind]
    x = 20 + 105 * i
    parts.append(
        f'<rect x="{x}" y="632" width="16" height="16" rx="3" fill="{fill}" stroke="{edge}"/>'
        f'<text x="{x + 22}" y="645" font-size="12">{label}</text>'
    )

svg = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="880" height="665" viewBox="0 0 880 665" '
    'font-family="Helvetica, Arial, sans-serif">'
    '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
    'markerHeight="7" orient="auto"><path d="M0,0 L10,5 L0,10 z" fill="#444"/></marker></defs>'
    '<rect width="880" height="665" fill="white"/>' + "".join(parts) + "</svg>\n"
)
Path(__file__).with_name("architecture.svg").write_text(svg)
