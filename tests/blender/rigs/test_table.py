# SPDX-License-Identifier: Apache-2.0
"""README names the armatures that the tests try, and no others."""

from tests.blender.rigs.table import README, in_readme, table


def test_readmes_table_is_the_tests_own_list() -> None:
    assert in_readme(README.read_text("utf-8")) == table(), "run: python -m tests.blender.rigs.table"
