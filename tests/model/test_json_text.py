"""JSON of strangers: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import pytest

from envsync.model.canonical import canonical_json
from envsync.model.json_text import read_json


@pytest.mark.parametrize(
    "text",
    ["", "[", "{'a': 1}", "[" * 10_000, '{"a":' * 10_000, "NaN", "[-Infinity]", "1e999", b"\xff",
     "9" * 5_000],
)  # fmt: skip
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        read_json(text)


@pytest.mark.parametrize(
    ("text", "value"), [("[1, 1.5, null]", [1, 1.5, None]), (b'"\xc3\xa9"', "é")]
)
def test_what_is_json_is_read(text: str | bytes, value: object) -> None:
    assert read_json(text) == value


def test_what_is_nested_too_deeply_has_no_canonical_form() -> None:
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(TypeError, match="nested too deeply"):
        canonical_json(deep)  # type: ignore[arg-type]
