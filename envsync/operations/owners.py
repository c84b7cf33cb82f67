"""Who may change what: the commits that changed an environment, against ``policy.changes``.

An author line is what its writer says. What is proved is a signature, as far as this machine's git
knows whose keys count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from envsync.model.config import ENVIRONMENTS, LIFECYCLE, LOCKS
from envsync.model.policy import Breach, Owners, Policy
from envsync.ports.git import Change, GitReader

_SHOWN = 3
_NOT_HERE = "the commits that changed it are not all here (a shallow clone?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What of the changes of an environment breaks the policy, and what is only told."""

    breaches: tuple[Breach, ...] = ()
    notices: tuple[Breach, ...] = ()


def changed_by(git: GitReader, policy: Policy, name: str, since: str, until: str) -> Verdict:
    """Judge the commits that changed environment *name* after *since* ('': ever) up to *until*."""
    rules = [
        rule
        for rule in policy.changes
        if any(fnmatchcase(name, glob) for glob in rule.environments)
    ]
    if not rules:
        return Verdict()
    paths = (f"{ENVIRONMENTS}/{name}", f"{LOCKS}/{name}", f"{LIFECYCLE}/{name}.yaml")
    changes = git.changes(since, until, paths)
    breaches: list[Breach] = []
    notices: list[Breach] = []
    for rule in rules:
        into = breaches if rule.refuse else notices
        if changes is None:
            into.append(_breach(policy, rule, name, _NOT_HERE))
        elif found := _others(rule, changes):
            into.append(_breach(policy, rule, name, found))
    return Verdict(breaches=tuple(breaches), notices=tuple(notices))


def _breach(policy: Policy, rule: Owners, name: str, found: str) -> Breach:
    signed = "signed by" if rule.signed else "by"
    return Breach(
        rule="changes",
        where=rule.where,
        message=f"{policy.named('changes')} lets it be changed {signed} {', '.join(rule.by)}; "
        f"{name}: {found}",
        hint="Let one of them look at it." if not rule.refuse else "Let one of them commit it.",
    )


def _others(rule: Owners, changes: Sequence[Change]) -> str:
    """Return who else changed it, in words; '' when nobody did."""
    who = {
        (change.commit[:12], change.signer if rule.signed else change.email) for change in changes
    }
    strange = sorted(
        f"{commit} {'signed by' if rule.signed else 'by'} {one or 'nobody whom git knows'}"
        for commit, one in who
        if not any(fnmatchcase(one.lower(), glob.lower()) for glob in rule.addresses)
    )
    more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
    return f"changed in {', '.join(strange[:_SHOWN])}{more}" if strange else ""
