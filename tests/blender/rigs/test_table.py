# SPDX-License-Identifier: Apache-2.0
"""The animators' page names the armatures that the tests try, and no others."""

from tests.blender.rigs.table import PAGE, on_page, table


def test_the_pages_table_is_the_tests_own_list() -> None:
    assert on_page(PAGE.read_text("utf-8")) == table(), "run: python -m tests.blender.rigs.table"
