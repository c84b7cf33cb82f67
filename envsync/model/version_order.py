"""The order of package versions, as conda compares them; it orders PEP 440 versions well too.

Source: https://github.com/conda/ceps/blob/main/cep-0033.md (version literals and their ordering)
"""

from __future__ import annotations

import re
from itertools import zip_longest

_PARTS = re.compile(r"\*+|[0-9]+|[^0-9*]+")
_Token = tuple[int, int, str]
_ZERO: _Token = (2, 0, "")
_DIGITS = 1000


def compare_versions(left: str, right: str) -> int:
    """Return -1, 0 or 1: whether *left* is older than, equal to or newer than *right*."""
    for a, b in zip(_segments(left), _segments(right), strict=True):
        order = _compare(a, b)
        if order:
            return order
    return 0


def release_numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that a version starts with: (1, 26, 4) for ``1.26.4rc1``; epoch first."""
    epoch, _, rest = version.strip().lower().removeprefix("v").rpartition("!")
    numbers = []
    for piece in re.split(r"[._-]", rest.split("+")[0]):
        match = re.match(r"[0-9]+", piece)
        if match is None:
            break
        numbers.append(_number(match.group()))
        if match.end() != len(piece):
            break
    return (_number(epoch) if epoch.isdecimal() else 0, *numbers)


def _number(digits: str) -> int:
    """Read a number; those that are too long to mean anything, and for Python, are all the same."""
    return int(digits) if len(digits) <= _DIGITS else 10**_DIGITS


def _segments(version: str) -> tuple[list[list[_Token]], list[list[_Token]], list[list[_Token]]]:
    """Split a version into epoch, main part and local part, each a list of components."""
    text = version.strip().lower()
    epoch, _, rest = text.rpartition("!")
    main, _, local = rest.partition("+")
    return ([[_token(epoch)]] if epoch else [[_ZERO]], _components(main), _components(local))


def _components(text: str) -> list[list[_Token]]:
    components = []
    for piece in re.split(r"[._-]", text) if text else []:
        tokens = [_token(part) for part in _PARTS.findall(piece)]
        # A component that starts with letters counts as one with 0 before them: 1.1.a1 is 1.1.0a1.
        if tokens and tokens[0][0] != _ZERO[0]:
            tokens.insert(0, _ZERO)
        components.append(tokens or [_ZERO])
    return components


def _token(part: str) -> _Token:
    if part.isdecimal():
        return (2, _number(part), "")
    if part == "post":
        return (3, 0, "")
    if part == "dev":
        return (0, 0, "")
    return (1, 0, part)


def _compare(left: list[list[_Token]], right: list[list[_Token]]) -> int:
    for a, b in zip_longest(left, right, fillvalue=[_ZERO]):
        for x, y in zip_longest(a, b, fillvalue=_ZERO):
            if x != y:
                return -1 if x < y else 1
    return 0
