# SPDX-License-Identifier: Apache-2.0
"""``python -m training.data.directives``: how many kinds and sentences there are, and how often each family is drawn.

The weights are those of everything at once (``EVERYTHING``). The family ``other`` has none: it is drawn by itself,
where one arm or one leg is posed.
"""

from __future__ import annotations

from collections import Counter

from .kinds import KINDS
from .sampler import EVERYTHING
from .wording import default_wording


def main() -> None:
    """Prints the table."""
    wording = default_wording()
    patterns = sum(len(texts) for entry in wording.kinds.values() for texts in entry.values())
    print(f"{len(KINDS)} kinds; {patterns} patterns of sentences for {len(wording.kinds)} kinds and variants")
    kinds = Counter(kind.family for kind in KINDS.values())
    weights = dict.fromkeys((family for family in kinds if family != "other"), 0.0)
    for kind in KINDS.values():
        if kind.family in weights:
            weights[kind.family] += EVERYTHING.weight(kind)
    print(f"{'family':<12}{'kinds':>6}{'weight':>9}")
    for family, number in kinds.items():
        share = f"{100 * weights[family] / sum(weights.values()):.1f} %" if family in weights else ""
        print(f"{family:<12}{number:>6}{share:>9}")


if __name__ == "__main__":
    main()
