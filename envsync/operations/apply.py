"""Apply: carry a plan out, in the order that makes killing it at any instant harmless.

1. Build what is missing, publish it at its content tag, read it back.
2. Record all versions at once in git: atomic and create-only. This is the commit point.
3. Put the registry's tags: the commit's, ``latest``, and the version's last.

Each step can be derived again from git and the registry, so that recovery is running again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

from envsync.errors import Conflict, EnvsyncError, StalePlan, Unavailable
from envsync.model.record import Record
from envsync.model.reference import parse_image_reference
from envsync.operations.build_job import BuildJob
from envsync.operations.desire import Wish
from envsync.operations.outcome import Outcome, Result, refusal
from envsync.operations.parallel import threads
from envsync.operations.plan import Planned, make_plan
from envsync.operations.publish import publish, published, require_definition, verify
from envsync.operations.workshop import RELATIVES, Workshop
from envsync.planning.plan import CHANGING, EnvironmentPlan
from envsync.planning.states import in_order, moment
from envsync.ports.builder import BuiltImage
from envsync.ports.tree import Tree

if TYPE_CHECKING:
    from envsync.operations.attach import Made

# What builds from Dockerfiles is loaded when there is one: it takes as long as all the rest.

ROUNDS = 10
"""How often a lost race for a version is planned anew."""

Approve = Callable[[Planned], Mapping[str, EnvironmentPlan]]
"""Given the plan as it is now, return what of it may be carried out, by name; may raise StalePlan.
"""


def apply(
    workshop: Workshop,
    names: Sequence[str] = (),
    *,
    approve: Approve | None = None,
    reviewed: bool = True,
) -> Outcome:
    """Make the registry hold what HEAD asks for and record it; one environment blocks no other.

    *reviewed* says that a person saw what *approve* lets through, so that after a lost race nothing
    else is done.
    """
    planned = _plan(workshop, names, "HEAD")
    allowed = approve(planned) if approve else {e.name: e for e in planned.plan.changing}
    results = {e.name: refusal(e) for e in planned.plan.environments if e.state not in CHANGING}
    for attempt in range(ROUNDS):
        todo = [e for e in planned.plan.changing if e.name in allowed]
        if not todo:
            break
        lost = _round(workshop, planned, todo, results)
        if not lost:
            break
        if attempt + 1 == ROUNDS:
            for name in lost:
                error = Unavailable(f"{name} lost the race for its version {ROUNDS} times")
                results[name] = Result(name=name, state="failed", error=error)
            break
        workshop.pause(attempt)
        planned = _plan(workshop, lost, planned.commit.id)
        allowed = _still_allowed(
            allowed, planned, results, reviewed=reviewed and approve is not None
        )
    return Outcome(
        commit=planned.commit.id,
        results=tuple(sorted(results.values(), key=lambda r: r.name)),
        uncommitted=planned.plan.uncommitted,
    )


def _plan(workshop: Workshop, names: Sequence[str], revision: str) -> Planned:
    return make_plan(
        workshop.git, workshop.registries, workshop.readers, revision=revision, names=names
    )


def _still_allowed(
    allowed: Mapping[str, EnvironmentPlan],
    planned: Planned,
    results: dict[str, Result],
    *,
    reviewed: bool,
) -> Mapping[str, EnvironmentPlan]:
    """After a lost race: what came out of planning again, and whether that may go on.

    A plan that a person reviewed may end in nothing to do, because somebody else did the same; it
    may not turn into another version than the one that was reviewed.
    """
    going_on: dict[str, EnvironmentPlan] = {}
    for plan in planned.plan.environments:
        if plan.state not in CHANGING:
            results[plan.name] = refusal(plan)
        elif reviewed and plan.after_version != allowed[plan.name].after_version:
            error = StalePlan(
                f"{plan.name} is no longer what was reviewed",
                detail=f"It would become version {plan.after_version}.",
                hint="Review it again:\n    envsync plan",
            )
            results[plan.name] = Result(name=plan.name, state="failed", error=error)
        else:
            going_on[plan.name] = plan
    return going_on


def _round(
    workshop: Workshop,
    planned: Planned,
    todo: Sequence[EnvironmentPlan],
    results: dict[str, Result],
) -> list[str]:
    """Publish, record and tag *todo*; return the names whose version somebody else took."""
    records: dict[str, Record] = {}
    for plan, future in _publish_all(workshop, planned, todo):
        try:
            records[plan.name] = _record_of(planned, plan, future.result())
        except EnvsyncError as error:
            results[plan.name] = Result(name=plan.name, state="failed", error=error)
            workshop.progress.done(plan.name, f"failed: {error.summary}")
    recorded, lost = _record(workshop, planned, todo, records, results)
    _tag_all(workshop, planned, [plan for plan in todo if plan.name in recorded], recorded, results)
    return lost


def _tag_all(
    workshop: Workshop,
    planned: Planned,
    todo: Sequence[EnvironmentPlan],
    recorded: Mapping[str, Record],
    results: dict[str, Result],
) -> None:
    def made(record: Record) -> Made:
        from envsync.operations.attach import Made

        resolved = planned.wishes.wishes[record.name].resolved()
        return Made(spec_path=resolved.spec.path, lock=resolved.lock)

    tags = workshop.tags(planned.lifecycles.known, made)
    copied = [p for p in todo if planned.wishes.wishes[p.name].desired.copied]
    for plan in copied:
        workshop.progress.step(plan.name, f"tagging version {plan.after_version}")
        if planned.wishes.wishes[plan.name].desired.kind == "build":
            from envsync.operations.publish_dockerfile import keep_content_tag

            repository = workshop.registries.repository(plan.name)
            keep_content_tag(workshop.registry, repository, recorded[plan.name])
    known = {(r.name, r.version): r for r in (*planned.records, *recorded.values())}
    only = {plan.name: {a.target for a in plan.actions if a.verb == "tag"} for plan in copied}
    ended = tags.put([recorded[plan.name] for plan in copied], list(known.values()), only)
    for plan in todo:
        record, error = recorded[plan.name], ended.get(plan.name)
        if error is not None:
            workshop.progress.done(plan.name, f"failed: {error.summary}")
            results[plan.name] = Result(name=plan.name, state="failed", error=error)
            continue
        workshop.progress.done(plan.name, f"version {record.version} is {record.digest}")
        results[plan.name] = Result(
            name=plan.name,
            state="done",
            version=record.version,
            digest=record.digest,
            did=plan.state,
            note=tags.notes.get(plan.name, ""),
        )


def _publish_all(
    workshop: Workshop, planned: Planned, todo: Sequence[EnvironmentPlan]
) -> list[tuple[EnvironmentPlan, Future[str]]]:
    """Publish every environment; those with one definition after one another, built once."""
    tree = workshop.git.tree(planned.commit.id)
    groups: dict[str, list[EnvironmentPlan]] = defaultdict(list)
    for plan in todo:
        groups[plan.definition].append(plan)
    done: list[tuple[EnvironmentPlan, Future[str]]] = []

    def publish_group(plans: Sequence[EnvironmentPlan], futures: Sequence[Future[str]]) -> None:
        source = ""
        for plan, future in zip(plans, futures, strict=True):
            try:
                here = replace(plan, copy_from=plan.copy_from or source)
                future.set_result(_publish(workshop, planned, here, tree))
                # Whoever makes a definition makes it for the others in the plan. What is only found
                # is for itself: of the others the plan says that they make it.
                source = source or (plan.name if _makes(plan) else "")
            except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the result
                future.set_exception(error)

    with threads(workshop.builds_at_once) as pool:
        for plans in groups.values():
            futures: list[Future[str]] = [Future() for _ in plans]
            pool.submit(publish_group, plans, futures)
            done += zip(plans, futures, strict=True)
    return done


def _makes(plan: EnvironmentPlan) -> bool:
    return not plan.copy_from and any(action.verb in {"build", "copy"} for action in plan.actions)


def _publish(workshop: Workshop, planned: Planned, plan: EnvironmentPlan, tree: Tree) -> str:
    """Return the digest under which the environment's definition is published, verified."""
    wish = planned.wishes.wishes[plan.name]
    desired, registry = wish.desired, workshop.registry
    repository = workshop.registries.repository(plan.name)
    if not desired.copied:
        return plan.digest
    resolved = wish.resolved()
    if any(action.verb == "adopt" for action in plan.actions) or plan.state == "retag":
        workshop.progress.step(plan.name, "verifying what is published")
        return verify(registry, repository, resolved.definition)

    if desired.kind == "conda" and not plan.copy_from:
        return workshop.build(_job(workshop, planned, wish, plan, tree))

    def upload(image: BuiltImage) -> str:
        if plan.digest and plan.digest != image.top.digest:
            raise Conflict(
                f"version {plan.after_version} of {plan.name} cannot be made again",
                detail=f"Recorded as {plan.digest}, found now as {image.top.digest}.",
                hint="The image changed under its name; restore a backup.",
            )
        workshop.progress.step(plan.name, f"publishing {len(image.blobs)} blobs")
        return publish(image, registry, repository, workshop.uploads, workshop.progress, plan.name)

    if plan.copy_from:
        workshop.progress.step(plan.name, f"taking the image from {plan.copy_from}")
        source = workshop.registries.repository(plan.copy_from)
        tag = desired.content_tag
        image = published(registry, source, tag, resolved.definition)
        # Before anything is put: a tag that lies must not be believed here as well.
        require_definition(image.top, resolved.definition, f"{source}:{tag}")
        return upload(image)
    if desired.kind == "build":
        from envsync.operations.publish_dockerfile import Shelf, publish_dockerfile

        shelf = Shelf(
            registry=registry,
            repository=repository,
            uploads=workshop.uploads,
            progress=workshop.progress,
        )
        return publish_dockerfile(
            resolved, plan, shelf, workshop.site and workshop.site(), workshop.workspace
        )
    reference = parse_image_reference(desired.image)
    base = workshop.registries.source(reference.registry)
    workshop.progress.step(plan.name, f"copying {reference}")
    digest = desired.base_digest
    return upload(published(base, reference.repository, digest, resolved.definition))


def _job(
    workshop: Workshop, planned: Planned, wish: Wish, plan: EnvironmentPlan, tree: Tree
) -> BuildJob:
    from envsync.operations.own_wheels import wheel_contents

    resolved = wish.resolved()
    return BuildJob(
        name=plan.name,
        version=plan.after_version,
        repository=workshop.registries.repository(plan.name),
        definition=resolved.definition,
        lock=resolved.lock,
        digest=plan.digest,
        wheels=wheel_contents(tree, resolved.spec),
        images=tuple(_relatives(workshop, planned, wish)),
    )


def _relatives(workshop: Workshop, planned: Planned, wish: Wish) -> Iterator[tuple[str, str]]:
    """Yield earlier images that may share layers: the environment's own, then its siblings'.

    Only what git recorded: a digest that came from elsewhere could not be believed. Siblings on the
    same base come first, and among them the newest.
    """
    name, base = wish.desired.name, wish.desired.base_digest
    newest: dict[str, Record] = {}
    for record in in_order(planned.records):
        newest[record.name] = record
    siblings = sorted(
        (record for record in newest.values() if record.name != name),
        key=lambda record: (record.base_digest != base, -record.created, record.name),
    )
    own = [newest[name]] if name in newest else []
    for record in (*own, *siblings[:RELATIVES]):
        yield workshop.registries.repository(record.name), record.digest


def _record_of(planned: Planned, plan: EnvironmentPlan, digest: str) -> Record:
    known = {(r.name, r.version): r for r in planned.records}
    recorded = known.get((plan.name, plan.after_version))
    if recorded is not None:
        return recorded
    desired = planned.wishes.wishes[plan.name].desired
    return Record(
        name=plan.name,
        version=plan.after_version,
        definition=desired.definition_hash,
        request=desired.request,
        digest=digest,
        platforms=desired.platforms,
        lock_sha256=desired.lock_sha256,
        base_digest=desired.base_digest,
        format=desired.format,
        commit=planned.commit.id,
        created=moment(
            planned.commit.date, tuple(r for r in planned.records if r.name == plan.name)
        ),
    )


def _record(
    workshop: Workshop,
    planned: Planned,
    todo: Sequence[EnvironmentPlan],
    records: Mapping[str, Record],
    results: dict[str, Result],
) -> tuple[Mapping[str, Record], list[str]]:
    """Record what is new in one push; return what is recorded now, and the names that lost."""
    known = set(planned.records)
    fresh = [record for record in records.values() if record not in known]
    if not fresh:
        return records, []
    for record in fresh:
        workshop.progress.step(record.name, f"recording version {record.version}")
    old = {name: record for name, record in records.items() if record in known}
    try:
        verdict = workshop.git.record(fresh)
    except EnvsyncError as error:
        failure = error
    else:
        if verdict == "recorded":
            return records, []
        if verdict == "lost":
            return old, [record.name for record in fresh]
        failure = Unavailable(
            "nobody can say whether the records were written",
            detail=f"The git remote {workshop.git.remote!r} does not answer any more.",
            hint="Nothing is lost. Run it again when the remote answers:\n    envsync apply",
        )
    for record in fresh:
        results[record.name] = Result(name=record.name, state="failed", error=failure)
    return old, []
