"""``envsync new``: write a starter spec."""

from __future__ import annotations

import json
from pathlib import Path

import click

from envsync.adapters.files.new_files import NewFiles
from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.worktree import WorkTree
from envsync.cli.errors import fault_document
from envsync.cli.session import Session
from envsync.errors import InvalidInput, Misuse
from envsync.model.saved import SAVED_FILE
from envsync.operations.copied_files import SourceFile
from envsync.operations.load import load_repository
from envsync.operations.new import NewEnvironment, create_environment
from envsync.operations.new_locked import Desk, LockedFiles, Wanted, from_lock, from_prefix
from envsync.operations.new_saved import carry_saved
from envsync.planning.freshness import LockRules

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("new")
@click.argument("name")
@click.option("--image", metavar="REF", default="", help="Base image; alone, the whole image.")
@click.option("--conda", type=_FILE, help="Conda environment file to copy.")
@click.option("--pip", type=_FILE, help="Requirements file to copy.")
@click.option("--build", type=_FOLDER, help="Folder of this repository with a Dockerfile.")
@click.option("--prefix", type=_FOLDER, help="Conda environment to take over, with its packages.")
@click.option("--lock", type=_FILE, help="conda-lock file or explicit lock to take over.")
@click.option("--saved", type=_FOLDER, help="Folder that the older Azure ML SDK saved.")
@click.option("--pin", is_flag=True, help="With --prefix: write versions, not what was asked for.")
@click.option("--python", metavar="VERSION", default="", help="Version of Python, such as 3.12.")
@click.option("--description", default="", help="What the environment is for.")
@click.pass_context
def command(
    context: click.Context,
    name: str,
    image: str,
    conda: Path | None,
    pip: Path | None,
    build: Path | None,
    prefix: Path | None,
    lock: Path | None,
    saved: Path | None,
    pin: bool,
    python: str,
    description: str,
) -> None:
    """Write the spec of a new environment NAME into environments/NAME.

    Without options it has Python on a small Debian image. With --prefix and --lock it has the same
    packages, and a lock that says so.
    """
    session: Session = context.obj
    root = session.root
    taken = {"--prefix": prefix, "--lock": lock, "--saved": saved}
    others = {"--conda": conda, "--pip": pip, "--build": build, "--python": python}
    given = [option for option, value in {**taken, **others}.items() if value]
    if any(taken.values()) and len(given) > 1:
        raise Misuse(f"{' and '.join(given)} cannot be given together", hint="Choose one of them.")
    if pin and prefix is None:
        raise Misuse("--pin belongs to --prefix")
    if saved is not None and description:
        raise Misuse("--description cannot be given with --saved", hint="Write it into the spec.")
    if prefix is not None or lock is not None:
        wanted = Wanted(name=name, image=image, description=description, pinned=pin)
        _tell(session, name, _locked(session, wanted, prefix, lock))
        return
    if saved is not None:
        source = SourceFile(tree=WorkTree(saved.resolve()), path=SAVED_FILE)
        carried = carry_saved(WorkTree(root), parse_document, name, source, image=image)
        _tell(session, name, LockedFiles(files=carried.files, locked=False, notes=carried.notes))
        return
    new = NewEnvironment(
        name=name,
        image=image,
        conda=_source(conda),
        pip=_source(pip),
        build=_inside(root, build) if build else "",
        python=python,
        description=description,
    )
    created = create_environment(WorkTree(root), parse_document, NewFiles(root), new)
    if session.format == "json":
        document = {"format_version": "1.0", "name": name, "created": created}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    for path in created:
        click.echo(f"created  {path}")
    click.echo(f"Next:\n    envsync lock {name}")


def _locked(
    session: Session, wanted: Wanted, prefix: Path | None, lock: Path | None
) -> LockedFiles:
    from envsync.adapters.locks.conda_lock_file import read_conda_lock
    from envsync.adapters.locks.conda_lock_hash import content_hashes
    from envsync.adapters.locks.conda_lock_sources import lock_sources
    from envsync.adapters.solving.conda_prefix import read_prefix

    tree, readers = WorkTree(session.root), session.readers()
    config = load_repository(tree, parse_document).config
    desk = Desk(
        tree=tree,
        parse=parse_document,
        rules=LockRules(config=config, matches=readers.matches, root=readers.root),
        content_hashes=content_hashes,
        read_lock=read_conda_lock,
        sources=lock_sources,
    )
    if prefix is not None:
        return from_prefix(desk, wanted, read_prefix(prefix), str(prefix))
    if lock is None:
        raise Misuse("Neither --prefix nor --lock is given")
    # The files that a lock was made from often stand above it.
    resolved = lock.resolve()
    folder = resolved.parents[min(2, len(resolved.parents) - 1)]
    source = SourceFile(tree=WorkTree(folder), path=resolved.relative_to(folder).as_posix())
    return from_lock(desk, wanted, source)


def _tell(session: Session, name: str, made: LockedFiles) -> None:
    """Write the files and say what came along, and what did not."""
    NewFiles(session.root).create(made.files)
    created = sorted(made.files)
    ready = made.locked and not made.stale and not made.based
    if session.format == "json":
        document = {
            "format_version": "1.0",
            "name": name,
            "created": created,
            "locked": ready,
            "lock_problems": [str(stale) for stale in made.stale],
            "not_carried_over": [fault_document(note) for note in made.notes],
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    for path in created:
        click.echo(f"created  {path}")
    for note in made.notes:
        hint = f"\n    {note.hint}" if note.hint else ""
        click.echo(f"not carried over: {note.where}: {note.message}{hint}")
    for stale in made.stale:
        click.echo(f"to be locked: {stale}")
    if ready:
        click.echo("It is locked.\nNext:\n    git add environments locks && git commit")
    elif made.based and not made.stale:
        click.echo(
            f"Its packages are locked; the base image is not.\nNext:\n    envsync lock {name}"
        )
    else:
        click.echo(f"Next:\n    envsync lock {name}")


def _source(file: Path | None) -> SourceFile | None:
    if file is None:
        return None
    resolved = file.resolve()
    return SourceFile(tree=WorkTree(resolved.parent), path=resolved.name)


def _inside(root: Path, folder: Path) -> str:
    resolved = folder.resolve()
    if not resolved.is_relative_to(root.resolve()):
        raise InvalidInput(
            f"{folder} is not in this repository",
            detail="A build context is part of the commit that an image is built from.",
            hint="Copy it into the repository first, and give that folder.",
        )
    return resolved.relative_to(root.resolve()).as_posix()
