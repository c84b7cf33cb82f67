"""The plan as a comment on a pull request, for people who never heard of envsync."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envsync.model.config import ENVIRONMENTS
from envsync.model.names import is_name
from envsync.planning.changes_text import NEW_BUILD, counted
from envsync.planning.checks import LOCK_GOOD, POLICY_GOOD, STATE_GOOD, checks_of
from envsync.planning.flags import Flag, flags_of
from envsync.planning.markdown import LIMIT, TEXT_LIMIT, code, codes, fold, table, units
from envsync.planning.plan import CHANGING, Check, CheckVerdict, EnvironmentPlan, Plan, State
from envsync.planning.sizes import size

if TYPE_CHECKING:
    from envsync.model.package_changes import PackageChange

MARKER = "<!-- envsync plan "
"""How the comment starts, so that it is found again."""

_WORDS: dict[State, str] = {
    "create": "first version, {after}",
    "new_version": "new version: {before} → {after}",
    "reuse": "version {after}, from an image that exists already",
    "republish": "version {after} is published again, as it was",
    "retag": "version {after} gets its tags in the registry again",
    "in_sync": "no new image, version {after} stays",
    "unknown": "unknown",
    "conflict": "conflict",
    "invalid": "cannot be built",
}
_SIGNS: dict[CheckVerdict, str] = {"pass": "✅", "warn": "⚠️", "fail": "❌", "unknown": "❔"}
_OWN_REASONS = {
    "definition_changed", "packages_changed", "first_version", "in_sync", "environment_new",
}  # fmt: skip
"""Reasons that say nothing which does not stand above or below them."""
_OUR_WORDS = {LOCK_GOOD, POLICY_GOOD, STATE_GOOD}
_MOST_ROWS = 300
"""Packages of one table; no team reads more."""
_MOST_NAMES = 60
_MOST_MOVES = 8


def plan_markdown(plan: Plan) -> str:
    """Return the comment: at most `LIMIT` UTF-16 units, ending with a line feed."""
    top, bottom = "\n".join(_top(plan)), "\n".join(_bottom(plan))
    sections = [_Section.of(environment, plan) for environment in plan.environments]
    left_out = _fitted(sections, LIMIT - units(top) - units(bottom) - 1000)
    parts = [top, *(one.text for one in sections if one.text), *_left_out(left_out, plan), bottom]
    return "\n\n".join(part for part in parts if part) + "\n"


@dataclass(slots=True, kw_only=True)
class _Section:
    """One environment's part, as long as there is room for."""

    text: str
    shorter: list[str]
    """What to take in place of it, the longest first."""

    @classmethod
    def of(cls, environment: EnvironmentPlan, plan: Plan) -> _Section:
        whole, without = (
            "\n".join(_environment(environment, plan, transitive=shown)) for shown in (True, False)
        )
        line = f"- {code(environment.name)}: {_state(environment)}"
        return cls(text=whole, shorter=[without, line, ""])


def _fitted(sections: Sequence[_Section], room: int) -> tuple[int, int, int]:
    """Shorten sections, those that win most first, until they fit; return how many at each step."""
    total = sum(units(one.text) + 2 for one in sections)
    steps: list[int] = []
    for _ in range(3):
        count = 0
        # The last step takes whole environments away, from the end.
        order = sorted(
            reversed(sections) if len(steps) == 2 else sections,
            key=lambda one: units(one.shorter[0]) - units(one.text) if len(steps) < 2 else 0,
        )
        for one in order:
            shorter = one.shorter.pop(0)
            if total <= room:
                continue
            total -= units(one.text) - units(shorter)
            count += shorter != one.text
            one.text = shorter
        steps.append(count)
    return steps[0], steps[1], steps[2]


def _left_out(steps: tuple[int, int, int], plan: Plan) -> Iterator[str]:
    tables, sections, lines = steps
    said = []
    if tables:
        said.append(f"the packages that others need, of {tables} environments")
    if sections:
        said.append(f"all but a line of {sections} environments")
    if lines:
        said.append(f"{lines} environments altogether")
    if said:
        yield f"⚠️ **This comment is too long for all of it.** Left out: {'; '.join(said)}."
        yield f"The whole plan, on a clone of this branch:\n\n```\n{_again(plan)}\n```"


def _again(plan: Plan) -> str:
    return f"envsync plan --base {plan.base.commit}" if plan.base else "envsync plan"


def _top(plan: Plan) -> Iterator[str]:
    yield f"{MARKER}{plan.id[:16]} of {plan.commit[:12]} -->"
    yield f"## envsync: {headline(plan)}"
    yield ""
    commit = code(plan.commit[:12])
    changes = (
        f"Merging this (commit {commit}) into {code(plan.base.ref)} would change"
        if plan.base
        else f"Commit {commit} changes"
    )
    if not plan.environments and not plan.removed:
        yield f"{changes} no environment."
        yield from _policy(plan)
        return
    where = f", and keeps it in the registry {code(plan.registry)}" if plan.registry else ""
    compared = (
        f" Packages are compared with those that {code(plan.base.ref)} has locked."
        if plan.base and any(environment.changes for environment in plan.environments)
        else ""
    )
    yield (
        f"{changes} conda environments. envsync builds a container image of each, from the"
        f" exact packages that are locked in git{where}. **Nothing has been built or published"
        f" yet;** this is what would be.{compared}"
    )
    yield from _policy(plan)


def _policy(plan: Plan) -> Iterator[str]:
    if plan.policy_changed and plan.policy_from:
        yield ""
        yield (
            "⚠️ **This changes the policy.** It was judged by the policy of"
            f" {code(plan.policy_from[:12])}, where it would go."
        )


def headline(plan: Plan) -> str:
    """Return the verdict: what stands in the way, else how many versions come, and the risks."""
    counts = Counter(environment.state for environment in plan.environments)
    stuck = sum(counts[state] for state in ("invalid", "conflict", "unknown"))
    failed = sum(
        any(check.verdict == "fail" for check in environment.checks)
        for environment in plan.environments
        if environment.state in CHANGING
    )
    risks = sum(len(_flags(environment, plan)) for environment in plan.environments)
    parts = []
    if stuck or failed:
        parts.append(f"❌ {_many(stuck + failed, 'environment')} cannot go on")
    if new := len(plan.with_state("create", "new_version", "reuse")):
        verb = "gets a new version" if new == 1 else "get new versions"
        parts.append(f"{_many(new, 'environment')} {verb}")
    if back := len(plan.with_state("republish", "retag")):
        verb = "is" if back == 1 else "are"
        parts.append(f"{_many(back, 'environment')} {verb} put back as recorded")
    if plan.removed and plan.base:
        parts.append(f"{len(plan.removed)} removed")
    if not parts:
        parts.append("no image changes")
    if risks:
        parts.append(_many(risks, "warning"))
    return ", ".join(parts)


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _flags(environment: EnvironmentPlan, plan: Plan) -> tuple[Flag, ...]:
    return flags_of(environment, compared=plan.base is not None)


def _state(environment: EnvironmentPlan) -> str:
    after, before = code(environment.after_version), code(environment.before_version)
    return _WORDS[environment.state].format(after=after, before=before)


def _environment(environment: EnvironmentPlan, plan: Plan, *, transitive: bool) -> Iterator[str]:
    yield f"### {code(environment.name)}: {_state(environment)}"
    yield ""
    facts = []
    if environment.platforms:
        facts.append(f"Platforms: {codes(environment.platforms)}")
    effort = environment.effort
    if effort is not None and effort.layers:
        layers = f"all {effort.layers} layers"
        if effort.layers_to_push < effort.layers:
            layers = f"{effort.layers_to_push} of {effort.layers} layers"
            layers += "; the registry has the others"
        facts.append(f"To upload: about {size(effort.bytes_to_push)} ({layers})")
    if environment.before_version and environment.state in {"new_version", "reuse"}:
        facts.append(
            f"Whoever asks for `latest` would get it; version {code(environment.before_version)}"
            " stays available"
        )
    if facts:
        yield f"{'. '.join(facts)}."
        yield ""
    flags = _flags(environment, plan)
    if flags:
        yield "**Look at this:**"
        yield ""
        for flag in flags:
            what, _, why = flag.text.partition(": ")
            named = f": {_named(flag, environment)}" if flag.packages else ""
            end = "" if why.endswith("?") else "."
            yield f"- ⚠️ **{what}**{named}. {why[:1].upper()}{why[1:]}{end}"
        yield ""
    yield from _reasons(environment)
    yield from _packages(environment, transitive=transitive)
    yield from _checks(checks_of(environment))


def _named(flag: Flag, environment: EnvironmentPlan) -> str:
    """Return the packages of a flag, by the channels they move between where it is about these."""
    if flag.code != "channel_changed":
        return codes(flag.packages)
    moves: dict[tuple[str, str], dict[str, None]] = {}
    for change in environment.changes:
        for move in change.channel_moves:
            moves.setdefault(move, {})[change.name] = None
    texts = [f"{codes(names)} ({_move(move)})" for move, names in moves.items()]
    more = f"; and {len(texts) - _MOST_MOVES} more" if len(texts) > _MOST_MOVES else ""
    return "; ".join(texts[:_MOST_MOVES]) + more


def _reasons(environment: EnvironmentPlan) -> Iterator[str]:
    if environment.state in {"invalid", "unknown", "conflict"}:
        return  # the check says it
    texts = [reason.text for reason in environment.reasons if reason.code not in _OWN_REASONS]
    if texts:
        yield "What differs besides packages:" if environment.changes else "Why:"
        yield ""
        for text in texts[:20]:
            yield f"- {code(text)}"
        yield ""


def _packages(environment: EnvironmentPlan, *, transitive: bool) -> Iterator[str]:
    direct = [change for change in environment.changes if change.direct]
    others = [change for change in environment.changes if not change.direct]
    everywhere = len({change.platforms for change in environment.changes}) <= 1
    if direct:
        yield f"Packages requested in {code(f'{ENVIRONMENTS}/{environment.name}')}:"
        yield ""
        yield from _table(direct, "why", everywhere=everywhere)
        yield ""
    elif others:
        yield "No requested package changes."
        yield ""
    if others and transitive:
        summary = f"{_many(len(others), 'package')} that these need ({counted(others)})"
        yield from fold(summary, _table(others, "needed by", everywhere=everywhere))
        yield ""
    elif others:
        yield f"And {_many(len(others), 'package')} that these need ({counted(others)})."
        yield ""


def _table(changes: Sequence[PackageChange], why: str, *, everywhere: bool) -> Iterator[str]:
    head = ["package", "from", "to", "change", *([] if everywhere else ["platforms"]), why]
    rows = [_row(change, everywhere=everywhere) for change in changes[:_MOST_ROWS]]
    yield from table(head, rows)
    if len(changes) > _MOST_ROWS:
        yield ""
        yield f"and {len(changes) - _MOST_ROWS} more."


def _row(change: PackageChange, *, everywhere: bool) -> list[str]:
    loud = change.change in {"major", "downgrade"}
    words = f"**{change.change}**" if loud else change.change
    if change.change == "build":
        words = NEW_BUILD
    if change.channel_changed:
        what = "host" if change.manager == "pip" else "channel"
        words += f", **another {what}**: {_moves(change)}"
    manager = " (pip)" if change.manager == "pip" else ""
    return [
        f"{code(change.name)}{manager}",
        *(code(text, 60) for text in _versions(change)),
        words,
        *([] if everywhere else [codes(change.platforms)]),
        _why(change),
    ]


def _move(move: tuple[str, str], limit: int = TEXT_LIMIT) -> str:
    before, after = (code(channel, limit) or "none" for channel in move)
    return f"{before} → {after}"


def _moves(change: PackageChange) -> str:
    moves = [_move(move, 60) for move in change.channel_moves]
    return "; ".join(moves[:2]) + (f" and {len(moves) - 2} more" if len(moves) > 2 else "")


def _versions(change: PackageChange) -> tuple[str, str]:
    """Return the version before and after, with the build where that is what differs."""
    before = {d.before.build if d.before else "" for d in change.details}
    after = {d.after.build if d.after else "" for d in change.details}
    if change.change != "build" or len(before) != 1 or len(after) != 1 or before == after:
        return change.before_version, change.after_version
    return f"{change.before_version}={before.pop()}", f"{change.after_version}={after.pop()}"


def _why(change: PackageChange) -> str:
    """Return who wants it: the spec, or the chain of packages that require it."""
    if not change.direct:
        return " ← ".join(code(name, 60) for name in reversed(change.why[-6:])) or "not known"
    before, after = change.asked_before, change.asked_after
    if change.change == "removed":
        return "no longer requested"
    if not after:
        return "requested"
    if not before:
        return f"new request: {code(after, 80)}"
    if before != after:
        return f"request changed: {code(before, 80)} → {code(after, 80)}"
    return f"request unchanged ({code(after, 80)}), lock renewed"


def _checks(checks: Sequence[Check]) -> Iterator[str]:
    if checks:
        yield "Checks:"
        yield ""
    for check in checks:
        lines = check.text.splitlines()[:10] or [""]
        words = lines[0] if check.text in _OUR_WORDS else code(lines[0])
        yield f"- {_SIGNS[check.verdict]} {code(check.name, 40)}: {words}"
        yield from (f"    - {code(line)}" for line in lines[1:] if line.strip())


def _bottom(plan: Plan) -> Iterator[str]:
    if plan.removed:
        yield (
            f"Removed from git: {codes(plan.removed, _MOST_NAMES)}."
            " Their images and records stay, so that what runs on them goes on."
        )
        yield ""
    yield from _next(plan)


def _next(plan: Plan) -> Iterator[str]:
    # The command is put together here. A hint would be words of whoever wrote the plan file.
    locks = [
        environment.name
        for environment in plan.with_state("invalid")
        if environment.reasons[0].code.startswith("lock") and is_name(environment.name)
    ]
    if locks:
        yield "**Next:** lock on the branch, then commit the folder `locks/`:"
        yield from _command("envsync lock", locks)
        return
    if any(environment.state not in {*CHANGING, "in_sync"} for environment in plan.environments):
        yield "**Next:** mend what the checks above say, then plan again:"
        yield from _command(_again(plan), [])
        return
    names = [environment.name for environment in plan.changing if is_name(environment.name)]
    if not names:
        yield "**Next:** nothing is to be done after the merge."
        return
    if plan.base:
        yield (
            "**Next:** if the target branch is applied automatically (by `envsync reconcile`, or a"
            " CI job), nothing is left to do after the merge. Otherwise somebody runs there:"
        )
    else:
        yield "**Next:** on this commit:"
    # Plans of a branch are about some environments; these must be named to get the same plan.
    named = names if plan.base else []
    yield from _command("envsync apply", named, f" --plan-id {plan.id[:16]}")
    yield "It does exactly what is described above, or stops and says what has changed meanwhile."


def _command(command: str, names: Sequence[str], options: str = "") -> Iterator[str]:
    shown = f" {' '.join(names)}" if len(" ".join(names)) < 2000 else " NAMES…"
    yield ""
    yield "```"
    yield f"{command}{shown if names else ''}{options}"
    yield "```"
    yield ""
