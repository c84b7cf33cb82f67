"""From the nodes of ``policy:`` in ``envsync.yaml`` to a `Policy`, with every fault found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from collections.abc import Mapping as Map

from envsync.errors import Position
from envsync.model.document import (
    Faults,
    Mapping,
    Node,
    Scalar,
    Sequence,
    absent,
    as_bool,
    as_mapping,
    as_text,
    as_text_map,
    as_texts,
    as_whole_number,
    check_keys,
    described,
    shown,
)
from envsync.model.match_spec import match_spec_problem
from envsync.model.places import carries_credentials
from envsync.model.policy import Allowed, Days, Item, Licenses, Owners, Policy, WhenUnknown

POLICY_KEYS = (
    "channels", "wheel_urls", "registries", "base_images", "packages", "licenses",
    "max_lock_age", "cooldown", "wheels_only", "teams", "changes",
)  # fmt: skip
PACKAGE_KEYS = ("forbidden", "required")
LICENSE_KEYS = ("allowed", "forbidden", "unknown", "of")
CHANGE_KEYS = ("environments", "by", "signed", "refuse")
_ADVICE = {
    "base_image": "Write 'base_images:' and a list.",
    "licences": "Write 'licenses:', as SPDX does.",
    "forbidden": "Write it below 'packages:' or 'licenses:'.",
    "required": "Write it below 'packages:'.",
    "owners": "Write 'changes:'.",
}
_DAYS = 36_500
_Check = Callable[[str], tuple[str, str] | None]
"""From a text to what is wrong with it and what would be right."""
_HOST = re.compile(r"[^/]*[.:*?\[][^/]*|localhost")
"""What the first part of an image in full looks like; ``team/base`` leaves it out."""


def read_policy(node: Node | None, faults: Faults) -> Policy:
    """Read ``policy:``; what it does not say is allowed."""
    document = as_mapping(node, "'policy'", faults)
    if document is None:
        return Policy()
    check_keys(document, POLICY_KEYS, "'policy'", faults, _ADVICE)
    packages = as_mapping(document.get("packages"), "'packages'", faults)
    if packages is not None:
        check_keys(packages, PACKAGE_KEYS, "'packages'", faults, {})
    wheels_only = document.key("wheels_only")
    asked = as_bool(document.get("wheels_only"), "'wheels_only'", faults)
    teams = _teams(document.get("teams"), faults)
    return Policy(
        channels=_allowed(document, "channels", faults, _channel),
        wheel_urls=_allowed(document, "wheel_urls", faults, _url),
        registries=_allowed(document, "registries", faults, _registry),
        base_images=_allowed(document, "base_images", faults, _image),
        forbidden=_match_specs(packages, "forbidden", faults),
        required=_match_specs(packages, "required", faults),
        licenses=_licenses(document, faults),
        max_lock_age=_days(document, "max_lock_age", faults),
        cooldown=_days(document, "cooldown", faults),
        wheels_only=Item(text="true", where=wheels_only.where)
        if wheels_only is not None and asked
        else None,
        changes=tuple(_changes(document.get("changes"), teams, faults)),
    )


def _allowed(document: Mapping, key: str, faults: Faults, check: _Check) -> Allowed | None:
    """Read a list that says everything that is allowed; without an item it would allow nothing."""
    node = document.get(key)
    if node is None or absent(node):
        return None
    texts = as_texts(node, f"'{key}'", faults)
    if isinstance(node, Sequence) and not node.items:
        faults.add(
            node.where, f"'{key}' allows nothing", "List what is allowed, or leave the key out."
        )
    for text in texts:
        if problem := check(text.text.strip()):
            faults.add(text.where, f"{shown(text.text)} in '{key}' {problem[0]}", problem[1])
    name = document.key(key)
    where = name.where if name is not None else node.where
    return Allowed(where=where, texts=tuple(text.text.strip() for text in texts))


def _channel(text: str) -> tuple[str, str] | None:
    if carries_credentials(text):
        return "holds credentials", "Remove them; they come from the login of a machine."
    if any(character.isspace() for character in text):
        return "has white space in it", "Write one channel on each line."
    return None


def _url(text: str) -> tuple[str, str] | None:
    if problem := _channel(text):
        return problem
    if "://" not in text and text != "*":
        return "is not a URL", "Write https://wheels.example.com/*, for example."
    if text != "*" and "/" not in text.partition("://")[2]:
        return "names no files of the host", f"Write {text}/*"
    return None


def _registry(text: str) -> tuple[str, str] | None:
    if "/" in text or "@" in text:
        return "is not a host", "Images are named in 'base_images'; here a host such as ghcr.io."
    return None


def _image(text: str) -> tuple[str, str] | None:
    host, slash, _ = text.partition("/")
    if not slash or not _HOST.fullmatch(host):
        name = text if slash else f"library/{text}"
        return "does not say the registry", f"Write docker.io/{name}"
    return None


def _match_specs(packages: Mapping | None, key: str, faults: Faults) -> tuple[Item, ...]:
    found = []
    for text in as_texts(packages.get(key) if packages else None, f"'{key}'", faults):
        if problem := match_spec_problem(text.text):
            faults.add(text.where, problem.message, problem.hint)
        elif "::" in text.text or "[" in text.text:
            faults.add(
                text.where,
                f"{shown(text.text)} names more than a package and its versions",
                "Write openssl <3.0.14, for example; where packages come from say 'channels'.",
            )
        else:
            found.append(Item(text=" ".join(text.text.split()), where=text.where))
    return tuple(found)


def _licenses(document: Mapping, faults: Faults) -> Licenses | None:
    licenses = as_mapping(document.get("licenses"), "'licenses'", faults)
    name = document.key("licenses")
    if licenses is None or name is None:
        return None
    check_keys(licenses, LICENSE_KEYS, "'licenses'", faults, {})
    unknown = licenses.key("unknown")
    return Licenses(
        where=name.where,
        allowed=_allowed(licenses, "allowed", faults, lambda _: None),
        forbidden=tuple(
            Item(text=text.text.strip(), where=text.where)
            for text in as_texts(licenses.get("forbidden"), "'forbidden'", faults)
        ),
        unknown=_when_unknown(licenses.get("unknown"), faults),
        unknown_at=unknown.where if unknown is not None else name.where,
        of={
            package.lower(): license_text.text.strip()
            for package, license_text in as_text_map(licenses.get("of"), "'of'", faults).items()
        },
    )


def _when_unknown(node: Node | None, faults: Faults) -> WhenUnknown:
    text = as_text(node, "'unknown'", faults)
    if text is None or text.text == "refuse":
        return "refuse"
    if text.text == "warn":
        return "warn"
    if text.text == "allow":
        return "allow"
    faults.add(
        text.where,
        f"{shown(text.text)} says nothing about unknown licences",
        "Write refuse, warn or allow.",
    )
    return "refuse"


def _days(document: Mapping, key: str, faults: Faults) -> Days | None:
    name = document.key(key)
    number = as_whole_number(document.get(key), f"'{key}'", faults, low=1, high=_DAYS)
    return Days(where=name.where, days=number) if name is not None and number else None


def _teams(node: Node | None, faults: Faults) -> dict[str, tuple[str, ...]]:
    mapping = as_mapping(node, "'teams'", faults)
    found = {}
    for key, value in mapping.entries if mapping else ():
        texts = as_texts(value, shown(key.text), faults)
        for text in texts:
            if "@" not in text.text:
                faults.add(
                    text.where,
                    f"{shown(text.text)} is not an e-mail address",
                    "Write ada@example.org, or *@example.org for all of one place.",
                )
        if "@" in key.text:
            faults.add(key.where, f"A team cannot be called {shown(key.text)}")
        found[key.text] = tuple(text.text.strip() for text in texts)
    return found


def _changes(
    node: Node | None, teams: Map[str, tuple[str, ...]], faults: Faults
) -> Iterator[Owners]:
    if node is None or absent(node):
        return
    if not isinstance(node, Sequence):
        faults.add(node.where, f"'changes' is {described(node)}; it must be a list")
        return
    for item in node.items:
        rule = as_mapping(item, "An item of 'changes'", faults)
        if rule is None:
            if isinstance(item, Scalar):
                faults.add(item.where, "An item of 'changes' is empty", "Remove the line.")
            continue
        check_keys(rule, CHANGE_KEYS, "'changes'", faults, {"who": "Write 'by:'."})
        lists = {key: as_texts(rule.get(key), f"'{key}'", faults) for key in ("environments", "by")}
        for key, texts in lists.items():
            if not texts:
                faults.add(
                    rule.where,
                    f"An item of 'changes' has no '{key}'",
                    "Write environments: ['prod-*'] and by: [ada@example.org], for example.",
                )
        addresses: list[str] = []
        for text in lists["by"]:
            if "@" in text.text:
                addresses.append(text.text.strip())
            elif text.text in teams:
                addresses += teams[text.text]
            else:
                faults.add(
                    text.where,
                    f"{shown(text.text)} is neither an e-mail address nor one of 'teams'",
                )
        yield Owners(
            where=_first(rule, item.where),
            environments=tuple(text.text.strip() for text in lists["environments"]),
            by=tuple(text.text.strip() for text in lists["by"]),
            addresses=tuple(addresses),
            signed=as_bool(rule.get("signed"), "'signed'", faults) or False,
            refuse=as_bool(rule.get("refuse"), "'refuse'", faults) or False,
        )


def _first(rule: Mapping, where: Position) -> Position:
    return rule.entries[0][0].where if rule.entries else where
