"""``envsync cache``: how large the cache is, keep it within bounds, look whether it is sound."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click

from envsync.adapters.building.cache_folder import BOUNDED, CacheFolder
from envsync.cli.output import table
from envsync.cli.session import Session
from envsync.client.cache_settings import cache_limit
from envsync.planning.sizes import size as shown


@click.command("cache")
@click.argument("what", type=click.Choice(["info", "prune", "verify"]), default="info")
@click.option(
    "--limit",
    metavar="SIZE",
    default="",
    help="For prune: what may be left, such as 5GB or 0. Default: ENVSYNC_CACHE_SIZE, or 20GB.",
)
@click.pass_context
def command(context: click.Context, what: str, limit: str) -> None:
    """Show how large the cache is, prune it, or verify it.

    Everything in the cache can be made or fetched again. prune removes what was not used for
    longest; apply does so too when the limit is passed. verify removes what is damaged, and ends
    with code 2 when there was any.
    """
    session: Session = context.obj
    cache = CacheFolder(session.cache)
    bound = cache_limit({**session.environ, **({"ENVSYNC_CACHE_SIZE": limit} if limit else {})})
    if what == "info":
        _info(session, cache, bound)
    elif what == "prune":
        removed = cache.prune(bound)
        document = {"removed": removed.files, "bytes": removed.size, "left": removed.left}
        _say(
            session,
            document,
            f"Removed {removed.files} files, {shown(removed.size)}; {shown(removed.left)} left.",
        )
    else:
        checked = cache.verify()
        lines = [f"damaged, and removed: {path}" for path in checked.damaged]
        verdict = f"{checked.files} files checked: {len(checked.damaged) or 'none'} damaged."
        _say(
            session,
            {"checked": checked.files, "damaged": list(checked.damaged)},
            "\n".join([*lines, verdict]),
        )
        context.exit(2 if checked.damaged else 0)


def _info(session: Session, cache: CacheFolder, bound: int) -> None:
    parts = cache.parts()
    total = sum(part.size for part in parts)
    used = sum(part.size for part in parts if part.name in BOUNDED)
    if session.format == "json":
        document = {
            "folder": str(session.cache),
            "bytes": total,
            "bounded": used,
            "limit": bound,
            "parts": {part.name: {"files": part.files, "bytes": part.size} for part in parts},
        }
        click.echo(json.dumps({"format_version": "1.0", **document}, indent=2))
        return
    click.echo(f"{session.cache}")
    rows = [[part.name, str(part.files), shown(part.size)] for part in parts]
    click.echo(table(["PART", "FILES", "SIZE"], rows))
    click.echo(f"{shown(used)} of packages, of at most {shown(bound)}; {shown(total)} in all.")


def _say(session: Session, document: Mapping[str, object], text: str) -> None:
    if session.format == "json":
        click.echo(json.dumps({"format_version": "1.0", **document}, indent=2))
    else:
        click.echo(text)
