"""Compare: what a branch changes, against the branch that it goes into.

Packages are compared with what the *target* locks, not with the newest record: a reviewer judges
what this merge brings, and must not be shown again what others merged and nobody applied yet.
Which environments it touches is asked of the commit where the branch began: what the target moved
since then is not the branch's doing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from envsync.errors import EnvsyncError, InvalidInput
from envsync.model.config import ENVIRONMENTS, LIFECYCLE, LOCKS
from envsync.model.names import readable
from envsync.model.policy import Policy
from envsync.operations.desire import Wishes, desire
from envsync.operations.load import environment_names
from envsync.operations.policy import Judging
from envsync.operations.readers import Readers
from envsync.planning.checks import POLICY_GOOD
from envsync.planning.plan import Base, Check, EnvironmentPlan
from envsync.ports.git import GitReader
from envsync.ports.tree import CommittedTree


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What a branch changes."""

    base: Base
    touched: frozenset[str]
    removed: tuple[str, ...]
    """Environments whose spec the branch deletes, sorted."""
    behind: frozenset[str] = field(default_factory=frozenset)
    """Those of `touched` that the target changed too since the branch began."""

    def checked(self, plan: EnvironmentPlan, policy: Policy) -> EnvironmentPlan:
        """Add to a plan that *policy* lets it pass, and whether the target changed it too."""
        checks = list(plan.checks)
        if policy.has_rules and plan.state != "invalid":
            checks.append(Check(name="policy", verdict="pass", text=POLICY_GOOD))
        if plan.name in self.behind:
            ref = self.base.ref
            text = (
                f"{ref} changed this environment too since the branch began:"
                f" merge {ref} into the branch and lock again"
            )
            checks.append(Check(name="target branch", verdict="warn", text=text))
        return replace(plan, checks=tuple(checks))


def base_commit(git: GitReader, ref: str) -> str:
    """Return the commit of the branch that a change goes into; InvalidInput when it is not here."""
    try:
        return git.commit(ref).id
    except InvalidInput as error:
        raise InvalidInput(
            error.summary,
            detail="The branch that the change goes into must be here to be compared with.",
            hint=f"Fetch it, such as:\n    git fetch origin {ref.removeprefix('origin/')}",
        ) from error


def compare(
    git: GitReader, readers: Readers, ref: str, commit: str, wishes: Wishes, judging: Judging
) -> Compared:
    """Tell which of *wishes*, which are those of *commit*, differ from *ref*.

    Both are judged in the same way, so that what a policy refuses is no difference by itself.
    """
    tip_id = base_commit(git, ref)
    # A clone that is too shallow to know is compared with the target as it is; where HEAD is the
    # merge of both, as in GitHub's pull requests, that is the same.
    fork_id = git.merge_base(tip_id, commit) or tip_id
    fork, tip, now = git.tree(fork_id), git.tree(tip_id), git.tree(commit)
    try:
        before: Wishes | None = desire(fork, readers, (), judging)
    except InvalidInput:
        before = None  # its settings are broken, so everything is new
    names = frozenset(wishes.names)
    # Everything is published anew where the registry is another.
    moved = before is None or before.config.registry != wishes.config.registry
    touched = frozenset(
        name
        for name in names
        if moved
        or before is None
        or _files(fork, name) != _files(now, name)
        or _outcome(before, name) != _outcome(wishes, name)
    )
    kept = set(environment_names(now))
    return Compared(
        base=Base(ref=ref, commit=tip_id, fork=fork_id),
        touched=touched,
        removed=tuple(sorted(map(readable, set(environment_names(fork)) - kept))),
        behind=frozenset(name for name in touched if _files(fork, name) != _files(tip, name)),
    )


def _files(tree: CommittedTree, name: str) -> tuple[str, ...]:
    folders = f"{ENVIRONMENTS}/{name}", f"{LOCKS}/{name}", f"{LIFECYCLE}/{name}.yaml"
    found = []
    for path in folders:
        try:
            found.append(tree.identity(path))
        except EnvsyncError as error:  # a link that leads nowhere good
            found.append(str(error))
    return tuple(found)


def _outcome(wishes: Wishes, name: str) -> object:
    wish = wishes.wishes.get(name)
    return wish.desired if wish is not None else wishes.blocked.get(name)
