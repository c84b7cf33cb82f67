"""The difference between what git asks for and what git and the registry hold.

A failed read never becomes a decision: only a proved absence leads to building.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from envsync.model.names import next_version, readable
from envsync.model.policy import Breach
from envsync.model.reading import Present, Reading, Unknown
from envsync.model.record import Record
from envsync.planning.plan import Action, EnvironmentPlan, Reason
from envsync.planning.states import Blocked, Desired, Observed, current, latest


def version_to_be(desired: Desired, records: tuple[Record, ...]) -> str:
    """Return the version that should be current once git and the registry agree."""
    if desired.version is not None:
        return desired.version
    newest = latest(records)
    if newest is not None and newest.definition == desired.definition_hash:
        return newest.version
    return next_version(frozenset(record.version for record in records))


def blocked_plan(blocked: Blocked) -> EnvironmentPlan:
    """Return the plan of an environment that must be mended first."""
    first = Reason(code=blocked.reason, text=readable(blocked.detail))
    hints = [readable(blocked.hint), *(breach.hint for breach in blocked.breaches)]
    return EnvironmentPlan(
        # A folder may be called by bytes that are no text.
        name=readable(blocked.name),
        state="invalid",
        reasons=(
            *(() if blocked.reason == "policy" else (first,)),
            *policy_reasons(blocked.breaches),
        ),
        hint="\n".join(dict.fromkeys(filter(None, hints))),
    )


def policy_reasons(breaches: Iterable[Breach]) -> tuple[Reason, ...]:
    """Return what breaks the policy as reasons: ``policy_channels`` and so on."""
    return tuple(Reason(code=f"policy_{breach.rule}", text=str(breach)) for breach in breaches)


def unknown_plan(name: str, *unknowns: Unknown) -> EnvironmentPlan:
    """Return the plan of an environment about which something needed is not known."""
    reasons = tuple(Reason(code=unknown.code, text=unknown.reason) for unknown in unknowns)
    return EnvironmentPlan(name=name, state="unknown", reasons=reasons)


def diff(desired: Desired, observed: Observed) -> EnvironmentPlan:
    """Return what would make git and the registry agree on one environment."""
    version = version_to_be(desired, observed.records)
    newest = latest(observed.records)
    base = EnvironmentPlan(
        name=desired.name,
        state="in_sync",
        reasons=(),
        before_version=newest.version if newest else "",
        before_definition=newest.definition if newest else "",
        after_version=version,
        definition=desired.definition_hash,
        platforms=desired.platforms,
    )
    recorded = next((r for r in observed.records if r.version == version), None)
    if recorded is not None and recorded.definition != desired.definition_hash:
        return _conflict(
            base,
            "version_reuse",
            f"version {version} is recorded with another definition; versions never change",
            f"Choose another version in the spec of {desired.name}, or leave `version:` out.",
        )
    git_tag = f"env/{desired.name}/{version}"
    if git_tag in observed.broken_tags:
        return _conflict(
            base,
            "record_broken",
            f"git tag {git_tag} is in the way: {observed.broken_tags[git_tag]}",
            "Find out who made it, then delete it where the records are kept.",
        )
    read = (observed.content, observed.version_tag, observed.latest_tag, observed.latest_image)
    unknowns = [r for r in read if isinstance(r, Unknown)]
    if unknowns:
        return unknown_plan(desired.name, *unknowns)
    if recorded is not None:
        return _recorded(replace(base, digest=recorded.digest), desired, observed)
    return _unrecorded(base, desired, observed)


def _recorded(base: EnvironmentPlan, desired: Desired, observed: Observed) -> EnvironmentPlan:
    """The version exists in git: does the registry agree?"""
    tag, content = _value(observed.version_tag), _value(observed.content)
    if content and content != base.digest:
        return _conflict(
            base,
            "image_moved",
            f"the registry holds {content} for this definition, git recorded {base.digest}",
            "Somebody replaced the image. Compare the two before anything is put back.",
        )
    if tag and tag != base.digest:
        return _conflict(
            base,
            "version_tag_moved",
            f"registry tag {base.after_version} points at {tag}, git recorded {base.digest}",
            "Somebody moved the tag. Compare the two before anything is put back.",
        )
    if not content and not desired.copied:
        return _conflict(
            base,
            "image_missing",
            f"the image {base.digest} is gone from where the spec says it is",
            "envsync did not build it and cannot bring it back; choose another image.",
        )
    if not content:
        why = Reason(
            code="image_missing",
            text=f"the registry does not hold the image of version {base.after_version}",
        )
        actions = (*_make(desired), *_tags(base, desired, observed))
        return replace(base, state="republish", reasons=(why,), actions=actions)
    if not tag and desired.copied:
        why = Reason(
            code="version_tag_missing", text=f"registry tag {base.after_version} is missing"
        )
        actions = _tags(base, desired, observed)
        return replace(base, state="retag", reasons=(why,), actions=actions)
    if desired.copied and (behind := _latest_to_be(base.after_version, observed)) is not None:
        why = Reason(
            code="latest_behind",
            text=f"registry tag latest is not version {behind.version}, the newest that is not "
            "archived",
        )
        put = Action(verb="tag", target="latest")
        return replace(base, state="retag", reasons=(why,), actions=(put,))
    return replace(base, reasons=(Reason(code="in_sync", text="git and the registry agree"),))


def _unrecorded(base: EnvironmentPlan, desired: Desired, observed: Observed) -> EnvironmentPlan:
    """The version does not exist in git yet."""
    tag, content = _value(observed.version_tag), _value(observed.content)
    if tag and tag != content:
        return _conflict(
            base,
            "record_missing",
            f"the registry already has a tag {base.after_version} ({tag}) that git does not record",
            "Find out where it comes from; delete the tag, or restore its record.",
        )
    if not desired.copied and not content:
        return _conflict(
            base,
            "image_missing",
            f"the image {desired.base_digest} is not where the spec says it is",
            f"Lock it again:\n    envsync lock {desired.name} --upgrade",
        )
    why = (
        Reason(code="definition_changed", text=f"differs from version {base.before_version}")
        if base.before_version
        else Reason(code="first_version", text="there is no version yet")
    )
    new = replace(base, state="new_version" if base.before_version else "create", reasons=(why,))
    record = Action(verb="record", target=f"env/{desired.name}/{base.after_version}")
    tags = _tags(base, desired, observed)
    if not desired.copied:
        return replace(new, digest=content, actions=(record,))
    if content:
        adopt = Action(verb="adopt", target=desired.content_tag)
        published = Reason(
            code="published_not_recorded", text="the image is published and not recorded yet"
        )
        return replace(
            new,
            state="reuse",
            digest=content,
            reasons=(why, published),
            actions=(adopt, record, *tags),
        )
    if isinstance(observed.sibling, Unknown):
        return unknown_plan(desired.name, observed.sibling)
    if isinstance(observed.sibling, Present):
        source = observed.sibling.value
        shared = Reason(code="same_definition", text=f"{source} has the same definition")
        copy = Action(verb="copy", target=source)
        publish = Action(verb="publish", target=desired.content_tag)
        return replace(
            new,
            state="reuse",
            copy_from=source,
            reasons=(why, shared),
            actions=(copy, publish, record, *tags),
        )
    return replace(new, actions=(*_make(desired), record, *tags))


def _make(desired: Desired) -> tuple[Action, ...]:
    target = desired.content_tag
    make = Action(verb="copy" if desired.kind == "image" else "build", target=target)
    return (make, Action(verb="publish", target=target))


def _tags(base: EnvironmentPlan, desired: Desired, observed: Observed) -> tuple[Action, ...]:
    if not desired.copied:
        return ()
    moves = _moves_latest(base.after_version, observed)
    # The version tag goes last: seeing it proves that the ones before it were put.
    names = ("git", *(("latest",) if moves else ()), base.after_version)
    return tuple(Action(verb="tag", target=name) for name in names)


def _moves_latest(version: str, observed: Observed) -> bool:
    """Tell whether ``latest`` has to be put once *version* is recorded.

    A new version is the newest. One that was recorded long ago may be an old one.
    """
    recorded = any(record.version == version for record in observed.records)
    if not recorded and not observed.lifecycle.hides(version):
        return True
    if observed.latest_tag is not None:
        return _latest_to_be(version, observed) is not None
    newest = latest(observed.records)
    return newest is not None and newest.version == version


def _latest_to_be(version: str, observed: Observed) -> Record | None:
    """Return the recorded version that ``latest`` should name in the registry, if it does not.

    It waits for an image that is lost, unless that is of *version*, which is brought back.
    """
    wanted = current(observed.records, observed.lifecycle)
    if wanted is None or observed.latest_tag is None:
        return None
    if wanted.version != version and _value(observed.latest_image) != wanted.digest:
        return None
    return None if _value(observed.latest_tag) == wanted.digest else wanted


def _value(reading: Reading[str]) -> str:
    return reading.value if isinstance(reading, Present) else ""


def _conflict(base: EnvironmentPlan, code: str, text: str, hint: str) -> EnvironmentPlan:
    return replace(base, state="conflict", reasons=(Reason(code=code, text=text),), hint=hint)
