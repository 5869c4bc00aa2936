# SPDX-License-Identifier: Apache-2.0
"""Puts the renders of the demo on one page: before and after, side by side, with the instruction beneath."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageDraw, ImageFont

MARGIN: Final = 36
GAP: Final = 28
CAPTION: Final = 104
HEAD: Final = 100
PAGE: Final = "#f3f4f6"
CARD: Final = "#ffffff"
INK: Final = "#1d2530"
FAINT: Final = "#6b7482"
ACCENT: Final = "#3b6ea8"
COLUMNS: Final = 2


def compose(reports: list[dict[str, Any]], folder: Path, target: Path) -> None:
    """Write the page for reports whose renders are ``N_before.png`` and ``N_after.png`` in ``folder``."""
    pairs = [
        (Image.open(folder / f"{number}_before.png"), Image.open(folder / f"{number}_after.png"))
        for number in range(len(reports))
    ]
    width, height = pairs[0][0].size
    card_width, card_height = 2 * width, height + CAPTION
    rows = -(-len(reports) // COLUMNS)
    page = Image.new(
        "RGB",
        (
            2 * MARGIN + COLUMNS * card_width + (COLUMNS - 1) * GAP,
            HEAD + MARGIN + rows * card_height + (rows - 1) * GAP,
        ),
        PAGE,
    )
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, 26), "PoseLLaVA", font=font(36), fill=INK)
    draw.text((MARGIN + 205, 40), "Type an instruction in Blender, get keyframes", font=font(22), fill=FAINT)
    for number, (report, pair) in enumerate(zip(reports, pairs, strict=True)):
        left = MARGIN + number % COLUMNS * (card_width + GAP)
        top = HEAD + number // COLUMNS * (card_height + GAP)
        page.paste(_card(report, pair, card_width, card_height), (left, top))
    page.save(target)


def _card(
    report: dict[str, Any], pair: tuple[Image.Image, Image.Image], width: int, height: int
) -> Image.Image:
    card = Image.new("RGB", (width, height), CARD)
    draw = ImageDraw.Draw(card)
    for column, (picture, label) in enumerate(zip(pair, ("before", "after"), strict=True)):
        left = column * width // 2
        card.paste(picture, (left, 0), picture)  # its own transparency is the mask
        draw.text((left + 16, 12), label, font=font(17), fill=FAINT)
    middle = (width // 2, pair[0].height // 2)
    draw.line([(middle[0] - 16, middle[1]), (middle[0] + 12, middle[1])], fill=ACCENT, width=4)
    draw.polygon(
        [
            (middle[0] + 20, middle[1]),
            (middle[0] + 8, middle[1] - 9),
            (middle[0] + 8, middle[1] + 9),
        ],
        fill=ACCENT,
    )
    top = pair[0].height
    draw.text((18, top + 16), f"\u201c{report['instruction']}\u201d", font=font(25), fill=INK)
    moved = ", ".join(
        f"{joint.replace('_', ' ')} {degrees:.0f}°" for joint, degrees in list(report["degrees"].items())[:3]
    )
    more = f" + {len(report['degrees']) - 3}" if len(report["degrees"]) > 3 else ""
    line = f"{report['button']}, {report['frames']}  ·  {moved}{more}  ·  {report['milliseconds']:.0f} ms"
    draw.text((18, top + 58), line, font=font(17), fill=FAINT)
    return card


def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, so that the page looks the same everywhere."""
    found = ImageFont.load_default(size)
    assert isinstance(found, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return found
