"""``envsync update``: description and tags."""

from __future__ import annotations

import json

import click

from envsync.cli.output import printable, warn
from envsync.cli.session import Session
from envsync.errors import Misuse
from envsync.model.reference import is_plain, parse_environment_argument
from envsync.operations.update import Change, Updated, Verb, update_name, update_version


@click.command("update")
@click.argument("reference")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="Set, new or not.")
@click.option("--add", "adds", metavar="tags.KEY=VALUE", multiple=True, help="Add a new tag.")
@click.option("--remove", "removes", metavar="KEY", multiple=True, help="Remove.")
@click.pass_context
def command(
    context: click.Context,
    reference: str,
    sets: tuple[str, ...],
    adds: tuple[str, ...],
    removes: tuple[str, ...],
) -> None:
    """Change the description and the tags of NAME, in its spec, or of NAME:VERSION.

    KEY is description or tags.KEY. Everything else of an environment is immutable: another image
    is another version. Comments and all other lines of the spec stay as they are.
    """
    session: Session = context.obj
    changes = [*_changes("set", sets), *_changes("add", adds), *_changes("remove", removes)]
    parsed = parse_environment_argument(reference)
    desk = session.desk()
    if is_plain(reference):
        found = update_name(desk, parsed.name, changes)
    else:
        past, warning = session.past(session.committed_config())
        if warning:
            warn(warning)
        found = update_version(desk, past, parsed, changes)
    if session.format == "json":
        click.echo(json.dumps(_document(found), indent=2, ensure_ascii=False))
    else:
        click.echo(printable(_text(found)))


def _changes(verb: Verb, texts: tuple[str, ...]) -> list[Change]:
    changes = []
    for text in texts:
        key, equals, value = text.partition("=")
        if verb == "remove":
            changes.append(Change(verb=verb, key=text))
        elif not equals:
            raise Misuse(f"--{verb} {text} has no value", hint=f"Write --{verb} {key}=VALUE.")
        else:
            changes.append(Change(verb=verb, key=key, value=value))
    return changes


def _text(found: Updated) -> str:
    what = f"{found.name}:{found.version}" if found.version else found.name
    if not found.changed:
        return f"{what} is so already; nothing was changed."
    before, after = found.before, found.after
    lines = [f"{what}, in {found.path}"]
    if before.description != after.description:
        lines.append(f"    ~ description  {_short(after.description)}")
    for tag in sorted({*before.tags, *after.tags}):
        if tag not in after.tags:
            lines.append(f"    - tags.{tag}")
        elif tag not in before.tags:
            lines.append(f"    + tags.{tag}  {_short(after.tags[tag])}")
        elif before.tags[tag] != after.tags[tag]:
            lines.append(
                f"    ~ tags.{tag}  {_short(before.tags[tag])} → {_short(after.tags[tag])}"
            )
    lines += [
        "No new version comes of it. For everybody once it is committed:",
        f'    git commit -m "{found.name}: words" -- {found.path}',
    ]
    return "\n".join(lines)


def _short(text: str) -> str:
    return " ".join(text.split())[:60] or "(empty)"


def _document(found: Updated) -> dict[str, object]:
    return {
        "format_version": "1.0",
        "name": found.name,
        "version": found.version or None,
        "path": found.path,
        "changed": found.changed,
        "description": found.after.description,
        "tags": dict(found.after.tags),
    }
