# SPDX-License-Identifier: Apache-2.0
"""The table in docs/animators.md of the armatures that are known, made from the list that the tests go through.

``python -m tests.blender.rigs.table`` writes it anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.blender.rigs.humanoids import BY_STRUCTURE, HUMANOIDS

PAGE: Final = Path(__file__).resolve().parents[3] / "docs" / "animators.md"
BEGIN, END = "<!-- rigs: made by python -m tests.blender.rigs.table -->", "<!-- /rigs -->"


def table() -> str:
    """The table as Markdown: a row for each family, with what it was tried on."""
    sources: dict[str, list[str]] = {}
    for humanoid in HUMANOIDS:
        sources.setdefault(humanoid.family, []).append(humanoid.source)
    lines = ["| armature | tried on |", "|---|---|"]
    for family, tried in sources.items():
        counts = {source: tried.count(source) for source in tried}
        text = "; ".join(
            source if count == 1 else f"{source} (x {count})" for source, count in counts.items()
        )
        name = "any other, by its structure" if family == BY_STRUCTURE else family
        lines.append(f"| {name} | {text} |")
    return "\n".join(lines)


def on_page(text: str) -> str:
    """The table that the page holds."""
    return text.split(BEGIN)[1].split(END)[0].strip()


def main() -> None:
    """Write the table into PAGE."""
    text = PAGE.read_text("utf-8")
    PAGE.write_text(text.replace(on_page(text), table()), "utf-8")


if __name__ == "__main__":
    main()
