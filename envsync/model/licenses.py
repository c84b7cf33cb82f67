"""Licence expressions: which of a package's licences a list of licences names.

A channel says ``MIT``, ``Apache-2.0 OR GPL-2.0-only``, or words such as ``BSD 3-Clause`` that are
no SPDX expression. Source: https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from envsync.model.lock_text import PLAIN_LICENSE

_TOKEN = re.compile(r"\s*([()]|[^\s()]+)")


def plain_license(text: str) -> str:
    """Return what an index says of a licence as a lock can have it; '' for what no lock can."""
    line = " ".join(text.split())
    return line if PLAIN_LICENSE.fullmatch(line) else ""


def named_by(patterns: Sequence[str], license_text: str) -> bool:
    """Tell whether one of *patterns*, globs, is the whole text; upper and lower case are equal."""
    text = " ".join(license_text.lower().split())
    return any(fnmatchcase(text, pattern.lower()) for pattern in patterns)


def is_spdx(license_text: str) -> bool:
    """Tell whether *license_text* is an SPDX expression of known licences."""
    try:
        return bool(canonicalize_license_expression(license_text))
    except InvalidLicenseExpression:
        return False


def allowed_by(patterns: Sequence[str], license_text: str) -> bool:
    """Tell whether a licence can be chosen of which all parts are named by *patterns*.

    Of ``A OR B`` one must be named, of ``A AND B`` both.
    """
    return _holds(license_text, lambda one: named_by(patterns, one), choice=any, both=all)


def forbidden_by(patterns: Sequence[str], license_text: str) -> bool:
    """Tell whether no licence can be chosen without a part that *patterns* name.

    Of ``A OR B`` both must be named, of ``A AND B`` one.
    """
    return _holds(license_text, lambda one: named_by(patterns, one), choice=all, both=any)


_Fold = Callable[[list[bool]], bool]


def _holds(text: str, named: Callable[[str], bool], *, choice: _Fold, both: _Fold) -> bool:
    if not is_spdx(text):
        return named(text)
    tokens = _TOKEN.findall(text)
    position = 0

    def some() -> bool:
        nonlocal position
        found = [every()]
        while position < len(tokens) and tokens[position].upper() == "OR":
            position += 1
            found.append(every())
        return choice(found)

    def every() -> bool:
        nonlocal position
        found = [one()]
        while position < len(tokens) and tokens[position].upper() == "AND":
            position += 1
            found.append(one())
        return both(found)

    def one() -> bool:
        nonlocal position
        word = tokens[position]
        position += 1
        if word == "(":
            inner = some()
            position += 1
            return inner
        if position + 1 < len(tokens) and tokens[position].upper() == "WITH":
            word = f"{word} WITH {tokens[position + 1]}"
            position += 2
        return named(word)

    return some()
