"""Policy: where it is read from, and what of a tree breaks it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace

from envsync.errors import Fault, InvalidInput, PolicyRefused
from envsync.model.config import CONFIG_FILE, Config
from envsync.model.document import Faults
from envsync.model.lock import Lock
from envsync.model.policy import Breach, Policy
from envsync.model.spec import Spec
from envsync.operations.load import load_config
from envsync.operations.readers import Readers, read_lock
from envsync.ports.documents import ParseDocument
from envsync.ports.git import GitReader
from envsync.ports.tree import CommittedTree, Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """By which policy, and for which day, environments are judged."""

    day: datetime.date | None = None
    """Days are counted to it (UTC); None leaves out the rules that count days."""
    policy: Policy | None = None
    """None: that of the tree that the environments are read from."""
    source: str = ""
    """What names the content of the file that `policy` was read from, for what is remembered."""
    target: Config | None = None
    """All settings of that file; None where the policy is the tree's own."""

    def of(self, config: Config) -> Policy:
        """Return the policy for environments of a tree with this *config*."""
        return config.policy if self.policy is None else self.policy


def day_of(seconds: int) -> datetime.date:
    """Return the day (UTC) of a moment in seconds since 1970."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date()


def settings_of(tree: CommittedTree, parse: ParseDocument, origin: str) -> Config:
    """Return the settings by whose policy others are judged.

    *origin* is how messages call the tree's revision. Raises InvalidInput when they cannot be read:
    a policy that is not known allows nothing.
    """
    faults = Faults()
    config = load_config(tree, parse, faults)
    faults.check(f"{CONFIG_FILE} of {origin} cannot be used")
    return replace(config, policy=replace(config.policy, origin=origin))


def judging_of(git: GitReader, parse: ParseDocument, *, date: int, policy_from: str) -> Judging:
    """Return how a commit of *date* is judged, by the policy of a revision or by its own ('')."""
    if not policy_from:
        return Judging(day=day_of(date))
    tree = git.tree(policy_from)
    # Environments take their default channels from their own settings, the rules from these.
    target = settings_of(tree, parse, policy_from)
    source = f"{policy_from} {tree.identity(CONFIG_FILE)}"
    return Judging(day=day_of(date), policy=target.policy, source=source, target=target)


def refused(name: str, breaches: Sequence[Breach]) -> PolicyRefused:
    """Return the error that says what of an environment breaks the policy."""
    faults = [Fault(where=b.where, message=b.message, hint=b.hint) for b in breaches]
    return PolicyRefused(f"{name} is refused by policy", faults=faults)


def breaches_of(
    spec: Spec, lock: Lock | None, readers: Readers, config: Config, judging: Judging
) -> tuple[Breach, ...]:
    """Return what of an environment breaks the policy."""
    # The rules take libraries that are not needed where everything is remembered.
    from envsync.planning.freshness import LockRules
    from envsync.planning.policy import judge
    from envsync.planning.policy_case import Case

    rules = LockRules(
        config=config,
        matches=readers.matches,
        root=readers.root,
        channel_alias=readers.channel_alias,
    )
    policy = judging.of(config)
    return judge(Case(policy=policy, spec=spec, lock=lock, rules=rules, day=judging.day))


def policy_faults(
    tree: Tree, readers: Readers, config: Config, specs: Sequence[Spec], judging: Judging
) -> dict[str, tuple[Fault, ...]]:
    """Return by environment what of its spec and its lock breaks the policy, as faults.

    Without a policy no lock is read. What is wrong with a lock itself is among the faults.
    """
    policy = judging.of(config)
    if not policy.has_rules:
        return {}
    found = {}
    for spec in specs:
        faults = Faults()
        try:
            lock = read_lock(tree, readers.parse_lock, spec.name)
        except InvalidInput as error:
            lock = None
            faults.extend(error.faults)
        breaches = breaches_of(spec, lock, readers, config, judging)
        faults.extend(refused(spec.name, breaches).faults)
        if faults:
            found[spec.name] = tuple(faults)
    return found
