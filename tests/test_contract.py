"""The page of the contract names commands and tests that exist, and no cell is empty."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from envsync.cli.main import COMMANDS

ROOT = Path(__file__).parent
PAGE = (ROOT.parent / "docs/contract.md").read_text(encoding="utf-8")


def rows() -> list[tuple[str, ...]]:
    lines = (line for line in PAGE.splitlines() if line.startswith("| "))
    cells = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    return [row for row in cells if row != ("expected", "command", "test")]


@pytest.mark.parametrize("row", rows(), ids=lambda row: str(row[0])[:60])
def test_a_row_has_a_command_and_a_test_that_exist(row: tuple[str, ...]) -> None:
    expected, command, test = row
    assert expected
    verb = re.match(r"`envsync (\S+)", command)
    assert verb is not None
    assert verb.group(1).rstrip("`") in COMMANDS
    file, _, name = test.strip("`").partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_page_has_rows() -> None:
    assert len(rows()) > 50
