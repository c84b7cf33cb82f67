"""What ``envsync run`` is to run: from a reference to the place of an image."""

from __future__ import annotations

from dataclasses import dataclass, replace

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.worktree import WorkTree
from envsync.cli.output import warn
from envsync.cli.run_wiring import anonymous_memory, anonymous_parts, anonymous_registry
from envsync.cli.session import Session
from envsync.errors import EnvsyncError, InvalidInput
from envsync.model.config import Config
from envsync.model.document import Faults
from envsync.model.record import Record
from envsync.model.reference import parse_environment_argument
from envsync.oci.descriptor import is_digest
from envsync.operations.anonymous import REPOSITORY, recall_anonymous, resolve_anonymous
from envsync.operations.load import load_config, load_environment, load_spec
from envsync.operations.locate import Place, place_at, place_of
from envsync.operations.look import Past
from envsync.ports.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is to be run, and what its spec says of running it."""

    place: Place
    interpreter: str = ""
    """Path of the Python that the image brings by itself; '' where its spec does not say."""


def find(session: Session, reference: str, platform: str, shown: Progress) -> Target:
    """Return what *reference* means; a spec is locked and built for *platform*."""
    if is_digest(reference):
        return _by_digest(session, reference)
    if reference.endswith((".yaml", ".yml")) and not reference.startswith("azureml:"):
        return _inline(session, reference, platform, shown)
    parsed = parse_environment_argument(reference)
    config, past = _past(session)
    return _recorded(session, config, past, past.find(parsed))


def _past(session: Session) -> tuple[Config, Past]:
    config = session.committed_config()
    past, warning = session.past(config)
    if warning:
        warn(warning)
    return config, past


def _recorded(session: Session, config: Config, past: Past, record: Record) -> Target:
    place = place_of(past, session.registries(config), record, remote=bool(config.registry))
    try:
        spec = load_environment(past.git.tree(record.commit), past.readers.parse, record.name)
    except EnvsyncError:
        # Its commit is not here (a shallow clone), or is an older envsync's: the image is the same.
        return Target(place=place)
    return Target(place=place, interpreter=spec.settings.interpreter_path)


def _by_digest(session: Session, digest: str) -> Target:
    known = 0
    if (session.root / ".git").exists():
        config, past = _past(session)
        known = len(past.records)
        for record in past.records:
            if record.digest == digest:
                return _recorded(session, config, past, record)
    anonymous = recall_anonymous(anonymous_memory(session), digest)
    if anonymous is None:
        raise InvalidInput(
            f"nothing here is {digest}",
            detail=f"Neither one of {known} records, nor an image that was made here for a spec "
            "without a name.",
            hint="See what is recorded:\n    envsync list",
        )
    if anonymous.image:
        place = place_at(session.source, anonymous.image, digest)
        return Target(place=place, interpreter=anonymous.interpreter)
    registry = anonymous_registry(session)
    return Target(
        place=Place(registry=registry, repository=REPOSITORY, reference=digest, remote=False)
    )


def _inline(session: Session, reference: str, platform: str, shown: Progress) -> Target:
    path = (session.folder / reference).resolve()
    if not path.is_file():
        raise InvalidInput(
            f"there is no file {reference}",
            hint="An environment of this repository is called by its name, without a path.",
        )
    # The repository that the file lies in says which settings and channels hold for it.
    theirs = replace(session, folder=path.parent, _git=None)
    root = theirs.root
    tree, faults = WorkTree(root), Faults()
    config = load_config(tree, parse_document, faults)
    faults.check("the settings cannot be used")
    spec = load_spec(tree, parse_document, path.relative_to(root).as_posix(), name=None)
    past = _known_past(theirs)
    records = past.records if past else ()
    parts = anonymous_parts(theirs, config, shown)
    found, place = resolve_anonymous(spec, tree, parts, records, platform)
    if place is None and past is not None:
        record = next(record for record in records if record.digest == found.digest)
        return _recorded(theirs, config, past, record)
    if place is None:
        raise AssertionError("without records there is no record of the definition")
    return Target(place=place, interpreter=found.interpreter)


def _known_past(session: Session) -> Past | None:
    """Return the records; None where nothing was committed yet."""
    try:
        return _past(session)[1]
    except InvalidInput:
        return None
