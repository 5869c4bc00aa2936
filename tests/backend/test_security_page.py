# SPDX-License-Identifier: Apache-2.0
"""Each line of the page about security names its test: there has to be such a test."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_the_tests_that_the_page_names_are_there() -> None:
    tests = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    files = {file.name for file in (ROOT / "tests").rglob("test_*.py")}
    for name, is_begun in re.findall(r"(test_\w+(?:\.py)?)(…)?", PAGE):
        there = name in files or f"def {name}{'' if is_begun else '('}" in tests
        assert there, name


def test_each_limit_and_each_kind_of_attack_has_a_test() -> None:
    for title in ("Limits in figures", "What others' systems fell to"):
        (table,) = re.findall(rf"^## {title}\n\n(.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)
        for row in table.splitlines()[2:]:
            last = row.strip("| ").rsplit("|", 1)[-1].strip()
            assert re.search(r"`(test|tests/)|\b[FSCBPWRI]\b", last), row
