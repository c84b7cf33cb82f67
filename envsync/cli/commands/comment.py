"""``envsync comment``: say a plan on its pull request, in one comment that is kept up to date."""

from __future__ import annotations

import json
import stat
from importlib.resources import files
from pathlib import Path

import click

from envsync.cli.commands.schema import SCHEMAS
from envsync.cli.output import printable
from envsync.cli.session import Session
from envsync.client.forges import Provider, Where, open_forge
from envsync.errors import InvalidInput
from envsync.operations.comment import say
from envsync.planning.plan import Plan
from envsync.planning.plan_markdown import MARKER, headline, plan_markdown
from envsync.planning.plan_reader import SIZE_LIMIT, read_plan


@click.command("comment")
@click.option(
    "--plan",
    "plan_file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The saved plan: envsync plan --base REF --out FILE.",
)
@click.option("--repository", metavar="OWNER/NAME", default="", help="Default: the CI job's own.")
@click.option("--pull", type=click.IntRange(1), metavar="NUMBER", help="Default: the CI job's own.")
@click.option(
    "--provider", type=click.Choice(["github", "gitlab"]), help="Default: whose CI it is."
)
@click.option("--show", is_flag=True, help="Print the comment, and send it nowhere.")
@click.pass_context
def command(
    context: click.Context,
    plan_file: Path,
    repository: str,
    pull: int | None,
    provider: Provider | None,
    show: bool,
) -> None:
    """Say a saved plan in the one comment that envsync keeps on a pull request.

    The file is not believed: it is checked, and the comment is put together from it here. The token
    comes from GITHUB_TOKEN or GITLAB_TOKEN.
    """
    session: Session = context.obj
    plan = read_saved(plan_file, str(plan_file))
    body = plan_markdown(plan)
    if show:
        click.echo(body, nl=False)
        return
    where = Where(provider=provider, repository=repository, pull=pull)
    forge = open_forge(where, session.environ, session.sleep, session.closing)
    said = say(forge, MARKER, body) if forge is not None else None
    how = said.how if said is not None else "outdated"
    url = said.comment.url if said is not None else ""
    if session.format == "json":
        document = {"format_version": "1.0", "comment": how, "url": url}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    elif said is None:
        click.echo("Nothing is said: the branch has a newer commit, or its pull request is closed.")
    else:
        click.echo(printable(f"Comment {how}: {headline(plan)}. {url}".rstrip()))


def read_saved(path: Path, label: str) -> Plan:
    """Read a plan file that somebody else made; only a regular file is one."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise InvalidInput(f"{label} is not a saved plan", detail="It is no regular file.")
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        detail = error.strerror or type(error).__name__
        raise InvalidInput(f"{label} cannot be read", detail=detail) from error
    schema = json.loads(files("envsync").joinpath(SCHEMAS["plan"]).read_bytes())
    return read_plan(data, schema, label)
