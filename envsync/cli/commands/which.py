"""``envsync which``: from an image back to the version, the commit, the spec and the lock."""

from __future__ import annotations

import json

import click

from envsync.cli.output import day, printable, record_document, warn
from envsync.cli.run_wiring import anonymous_memory
from envsync.cli.session import Session
from envsync.operations.anonymous import Anonymous
from envsync.operations.which import Known, Match, which


@click.command("which")
@click.argument("image", metavar="DIGEST|IMAGE")
@click.pass_context
def command(context: click.Context, image: str) -> None:
    """Say which version an image is: its commit, spec and lock.

    A digest of an image, of one platform's image, or an engine's image id; twelve digits are
    enough. Or an image in a registry, or its tag def-….
    """
    session: Session = context.obj
    config = session.committed_config()
    past, warning = session.past(config)
    if warning:
        warn(warning)
    known = which(
        image,
        past,
        session.registries(config),
        anonymous_memory(session),
        remote=bool(config.registry),
    )
    if session.format == "json":
        click.echo(json.dumps(_document(known), indent=2, ensure_ascii=False))
    else:
        click.echo(printable("\n\n".join(_texts(known))))


def _texts(known: Known) -> list[str]:
    texts = [_aligned(_lines(match)) for match in known.matches]
    if known.anonymous is not None:
        texts.append(_aligned(_anonymous_lines(known.anonymous)))
    return texts


def _lines(match: Match) -> list[tuple[str, str]]:
    record = match.record
    by = f"its {match.by}" if match.by != "platform" else f"its image for {match.platform}"
    return [
        ("name", record.name),
        ("version", record.version),
        ("known by", by),
        ("digest", record.digest),
        ("definition", record.definition),
        ("commit", record.commit),
        ("date", day(record.created)),
        ("spec", match.spec or "(the commit is not here: git fetch --unshallow)"),
        ("lock", match.lock or "(the commit is not here)"),
        ("platforms", ", ".join(record.platforms)),
    ]


def _anonymous_lines(found: Anonymous) -> list[tuple[str, str]]:
    return [
        ("name", "(none: a spec that was run here as it is)"),
        ("digest", found.digest),
        ("definition", found.definition),
        ("request", found.request),
        ("spec", found.spec),
    ]


def _aligned(lines: list[tuple[str, str]]) -> str:
    width = max(len(key) for key, _ in lines)
    return "\n".join(f"{key:<{width}}  {value}" for key, value in lines)


def _document(known: Known) -> dict[str, object]:
    found = known.anonymous
    return {
        "format_version": "1.0",
        "digest": known.digest,
        "matches": [
            {
                "name": match.record.name,
                "by": match.by,
                "platform": match.platform,
                "spec": match.spec,
                "lock": match.lock,
                "record": record_document(match.record),
            }
            for match in known.matches
        ],
        "anonymous": {
            "digest": found.digest,
            "definition": found.definition,
            "request": found.request,
            "spec": found.spec,
        }
        if found
        else None,
    }
