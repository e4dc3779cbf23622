"""Draws docs/architecture.svg: ``python docs/draw_architecture.py``."""

from pathlib import Path

BOX = {
    "frozen": ("#dbe7f5", "#3b6ea5"),
    "learns": ("#fbe3c4", "#c77700"),
    "maths": ("#eef3ea", "#5d8a4a"),
    "file": ("#f3eef8", "#7a5aa6"),
    "loss": ("#fde0e0", "#b63a3a"),
    "room": ("#f4f4f4", "#777777"),
}
parts = []


def box(x, y, w, h, kind, *lines, plain=False):
    """A box with a title, a line of text and the room that holds it; ``plain``: names alone."""
    fill, edge = BOX[kind]
    parts.append(
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="7" fill="{fill}" stroke="{edge}"/>'
    )
    for i, line in enumerate(lines):
        size, weight = (13, "600") if i == 0 and not plain else (11 + plain, "400")
        style = ' font-style="italic" fill="#666"' if i == 2 and not plain else ""
        top = y + h / 2 + 4.5 + (i - (len(lines) - 1) / 2) * 16
        parts.append(
            f'<text x="{x + w / 2}" y="{top}" text-anchor="middle" font-size="{size}" '
            f'font-weight="{weight}"{style}>{line}</text>'
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
box(20, 56, 120, 58, "frozen", "teacher", "backbone, neck", "zoo/")
box(190, 56, 110, 58, "maths", "DWT", "10 bands per level", "frequency/")
box(350, 56, 170, 58, "learns", "masks = sigmoid(P R)", "prompts P (B, T, C)", "prompts/")
box(570, 56, 120, 58, "maths", "mask and IDWT", "sum over T, crop", "prompts/")
box(740, 56, 120, 58, "frozen", "teacher", "head", "zoo/")
box(350, 148, 170, 56, "learns", "gate: channel weights", "G(softmax(next F^T))", "gates/")
box(740, 148, 120, 56, "loss", "L_finetune", "the task's own loss", "tasks/")
box(568, 148, 124, 56, "loss", "L_dis", "Jaccard of T masks", "prompts/")
box(350, 232, 170, 46, "file", "prompts.pth", "prompts, gate, what for")
arrow([(140, 85), (190, 85)], "F")
arrow([(300, 85), (350, 85)], "R")
arrow([(520, 85), (570, 85)])
arrow([(690, 85), (740, 85)], "F'")
arrow([(800, 114), (800, 148)])
arrow([(165, 85), (165, 176), (350, 176)])
arrow([(520, 169), (545, 169), (545, 100), (570, 100)])
arrow([(535, 85), (535, 189), (568, 189)])
arrow([(435, 204), (435, 232)])

text(
    20, 318, "Stage 2: the student learns the teacher's bands where the masks look (configs/freekd)"
)
box(20, 341, 120, 58, "frozen", "teacher", "no prompts, no head", "distill/run/")
box(20, 461, 120, 58, "learns", "student", "backbone, neck", "zoo/")
box(20, 566, 120, 44, "learns", "student's head")
box(190, 461, 110, 58, "learns", "align phi", "1x1 conv, resize", "losses/align.py")
box(350, 341, 170, 58, "maths", "masks and gate", "frozen, no gradient", "prompts/, gates/")
box(350, 461, 170, 58, "maths", "DWT(F_t - F_s)", "one transform, linear", "frequency/")
box(570, 401, 290, 58, "loss", "L_FreeKD", "sum over bands: mean( gate mask |difference| )",
    "losses/freekd.py; another method: another file")  # fmt: skip
box(570, 566, 290, 58, "loss", "L_task + mu L_FreeKD",
    "log: ratio.freekd = mu L_FreeKD / L_task", "distill/")  # fmt: skip
arrow([(140, 370), (350, 370)], "F_t")
arrow([(435, 278), (435, 341)], "", dashed=True)
arrow([(140, 490), (190, 490)], "F_s")
arrow([(300, 490), (350, 490)])
arrow([(325, 370), (325, 477), (350, 477)])
arrow([(520, 370), (545, 370), (545, 420), (570, 420)])
arrow([(520, 490), (545, 490), (545, 440), (570, 440)])
arrow([(80, 519), (80, 566)])
arrow([(140, 588), (570, 588)], "task loss", at=(355, 581))
arrow([(715, 459), (715, 566)])

text(20, 668, "The rooms of freekd/: each uses those to its left, never those to its right")
ROOMS = (
    ("frequency",), ("gates", "prompts"), ("losses",), ("compat", "tasks", "zoo"), ("distill",),
    ("config", "datasets"), ("engine",), ("convert", "doctor", "study"), ("tools/",),
)  # fmt: skip
for i, names in enumerate(ROOMS):
    box(20 + 95 * i, 686, 80, 60, "room", *names, plain=True)
    if i:
        arrow([(20 + 95 * i, 716), (20 + 95 * i - 15, 716)])

for i, (kind, label) in enumerate(
    (("frozen", "frozen"), ("learns", "learns"), ("maths", "computed"), ("file", "file"),
     ("loss", "loss"))
):  # fmt: skip
    fill, edge = BOX[kind]
    x = 20 + 105 * i
    parts.append(
        f'<rect x="{x}" y="768" width="16" height="16" rx="3" fill="{fill}" stroke="{edge}"/>'
        f'<text x="{x + 22}" y="781" font-size="12">{label}</text>'
    )

svg = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="880" height="800" viewBox="0 0 880 800" '
    'font-family="Helvetica, Arial, sans-serif">'
    '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
    'markerHeight="7" orient="auto"><path d="M0,0 L10,5 L0,10 z" fill="#444"/></marker></defs>'
    '<rect width="880" height="800" fill="white"/>' + "".join(parts) + "</svg>\n"
)
Path(__file__).with_name("architecture.svg").write_text(svg)
