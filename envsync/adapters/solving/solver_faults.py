"""What rattler's errors mean to the people who wrote the spec."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

from envsync.errors import EnvsyncError, InvalidInput, NotAllowed, Unavailable, Unsatisfiable
from envsync.model.channels import strip_credentials
from envsync.model.places import without_secrets
from envsync.ports.solver import CondaRequest

_STATUS = re.compile(r"\b(401|403)\b")
_PRIORITY = re.compile(
    r"is excluded because due to strict channel priority not using this option from: '([^']+?)/?'"
)
_SHOWN = 6


def unsatisfiable(request: CondaRequest, message: str, hint: str) -> Unsatisfiable:
    """Return the error for a request that no packages satisfy, with the solver's explanation."""
    text = message.removeprefix("Cannot solve the request because of:").strip()
    text = _PRIORITY.sub(r"is only in \1, and a channel before it has this package too", text)
    assumed = [
        f"{name} {version}" for name, version in request.virtual_packages.items() if name in text
    ]
    if assumed:
        text += f"\nassumed of the machines that run it: {', '.join(assumed)}"
    elif missing := sorted(set(re.findall(r"\b__\w+", text)) - set(request.virtual_packages)):
        advice = (
            f"{', '.join(missing)} stands for what the machine provides; "
            "set it under `envsync: virtual_packages:` when the machines have it."
        )
        hint = f"{hint}\n{advice}".strip()
    return Unsatisfiable(
        "No set of packages satisfies the request",
        detail=f"{request.platform}: {without_secrets(text)}",
        hint=hint,
    )


def available_hint(known: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> str:
    """Say what there is instead: versions of a known name, or the nearest names."""
    lines = []
    for name, (versions, names) in known.items():
        if versions:
            newest = ", ".join(reversed(versions[-_SHOWN:]))
            more = f" and {len(versions) - _SHOWN} older" if len(versions) > _SHOWN else ""
            lines.append(f"The channels have {name} {newest}{more}.")
            continue
        near = difflib.get_close_matches(name, names, n=3)
        meant = f"; did you mean {' or '.join(near)}?" if near else "."
        lines.append(f"No channel of this spec has a package named {name}{meant}")
    return "\n".join(lines)


def gateway_fault(message: str, channels: Sequence[str]) -> EnvsyncError:
    """Return the error for repodata that could not be read."""
    text = without_secrets(message).replace("\nCaused by: ", ": ")
    if _STATUS.search(text):
        return NotAllowed(
            "The channel refused access",
            detail=text,
            hint="Give credentials to rattler's store, or to a .netrc file:\n"
            "    pixi auth login HOST --token TOKEN",
        )
    if "could not find subdir" in text or re.search(r"\b404\b", text):
        return InvalidInput(
            "There is no such channel",
            detail=text,
            hint="Channels of this spec: "
            + ", ".join(strip_credentials(url).rstrip("/") for url in channels),
        )
    return Unavailable("A channel cannot be reached", detail=text)
