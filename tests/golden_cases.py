"""Golden cases: a text file of inputs, each with the full text that is expected for it.

A case starts with ``<<< its name``; its input follows up to the line ``>>>``, then what is expected
up to an empty line before the next case.
"""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent / "data"


def golden_cases(name: str) -> dict[str, tuple[str, str]]:
    """Return input and expected text by the name of the case."""
    cases = {}
    for block in f"\n{(DATA / name).read_text()}".split("\n<<< ")[1:]:
        title, _, rest = block.partition("\n")
        if rest.startswith(">>>\n"):
            rest = f"\n{rest}"
        given, _, expected = rest.partition("\n>>>\n")
        assert title not in cases, f"{title!r} stands twice in {name}"
        cases[title] = (f"{given}\n" if given else "", expected.strip("\n"))
    return cases
