"""The command ``envsync``: its commands, loaded when they are used, and how errors end it."""

from __future__ import annotations

import difflib
import itertools
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from types import FrameType

import click

from envsync import __version__, failpoints
from envsync.cli.errors import of_the_system, report
from envsync.cli.session import Session
from envsync.cli.signals import heed_signals
from envsync.errors import EnvsyncError, Misuse
from envsync.model.places import without_secrets

PROGRAM = "envsync"
INTERRUPTED = frozenset({130, 143})

COMMANDS = {
    "init": "Make this folder a repository that uses envsync.",
    "new": "Write a starter spec.",
    "import": "Write specs for a tree of Azure ML files; or take an archive in.",
    "validate": "Report every fault of settings and specs.",
    "lock": "Resolve unpinned dependencies into lock files.",
    "plan": "Show what apply would do, and why. Changes nothing.",
    "comment": "Say a saved plan in a comment on its pull request.",
    "apply": "Build and publish what differs, and record it in git.",
    "reconcile": "Follow a branch: lock, apply and record what changed.",
    "verify": "Compare every recorded version with its commit and the registry.",
    "status": "Show in short how environments, locks and registry stand.",
    "list": "List environments and their latest versions.",
    "show": "Show one version: image, packages, commit.",
    "history": "List the versions of an environment.",
    "logs": "Print what an engine said while it built a version.",
    "diff": "Show what differs between two versions.",
    "update": "Change description and tags.",
    "archive": "Hide an environment or a version; nothing is deleted.",
    "restore": "Show again what was archived.",
    "export": "Write an environment in the format of another tool.",
    "copy": "Copy a version's image to another registry, or into a file.",
    "run": "Run a command in an environment, here.",
    "which": "Say which version an image is: its commit, spec and lock.",
    "cache": "Show, prune or verify what is kept on this machine.",
    "schema": "Print the JSON Schema of a spec, of the settings, or of a plan.",
}
"""Name to summary; each is a module of `envsync.cli.commands`, imported when it is run."""


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


class Commands(click.Group):
    """Loads a command's module only when the command runs, so that ``--help`` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order people need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; every command can print JSON."""
        if cmd_name not in COMMANDS:
            return None
        module = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command = import_module(f"envsync.cli.commands.{module}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name} is not a command")
        if not any("--format" in parameter.opts for parameter in command.params):
            command.params.append(
                click.Option(
                    ["--format"],
                    type=click.Choice(["text", "json"]),
                    callback=_set_format,
                    expose_value=False,
                    help="What to print.",
                )
            )
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; for one that does not exist, name those that are written like it."""
        name = args[0]
        if name in COMMANDS or name.startswith("-"):
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(name, COMMANDS, n=3)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        raise click.UsageError(f"There is no command {name!r}.{meant}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their summaries, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _set_format(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value == "json":
        context.obj.format = "json"


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
@click.option(
    "-C",
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="Run as if started in this folder.",
)
@click.pass_context
def cli(context: click.Context, directory: Path) -> None:
    """Git says which conda environments a team has; the registry holds exactly those."""
    session: Session = context.obj
    session.folder = directory
    context.call_on_close(session.closing.close)


def main() -> None:
    """Run the command line and exit with the code of the release protocol."""
    signal.signal(signal.SIGTERM, _terminate)
    heed_signals()
    session = Session(
        folder=Path(),
        environ=os.environ,
        interactive=sys.stderr.isatty() and "CI" not in os.environ,
    )
    code = run(sys.argv[1:], session)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe has seen enough; Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if code in INTERRUPTED or "rattler" in sys.modules:
        # Threads may still be at work, and Python would wait for all that they have queued. Ending
        # in the middle is what every step is made for. rattler's threads sometimes crash an
        # interpreter that is being taken down (2 of 60 runs), and nothing is left to be done here.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: Sequence[str], session: Session) -> int:
    """Run one command and return the exit code; every error ends here, and none as a traceback."""
    as_json = _wants_json(arguments)
    try:
        failpoints.arm(session.environ.get(failpoints.VARIABLE, ""))
        result = cli.main(list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=session)
    except EnvsyncError as error:
        return report(error, as_json=as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return Misuse.exit_code
    except click.UsageError as error:
        usage = error.ctx.get_usage() if error.ctx else ""
        hint = f"Help:\n    {error.ctx.command_path if error.ctx else PROGRAM} --help"
        return report(Misuse(error.format_message(), detail=usage, hint=hint), as_json=as_json)
    except click.ClickException as error:
        return report(Misuse(error.format_message()), as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        return _interrupted(130, "interrupted")
    except Terminated:
        return _interrupted(143, "terminated")
    except BrokenPipeError:
        return 0
    except Exception as error:  # noqa: BLE001 - the boundary: a bug is reported in one line
        if session.environ.get("ENVSYNC_DEBUG"):
            click.echo(without_secrets(traceback.format_exc()), err=True, nl=False)
        refused = of_the_system(error) if isinstance(error, OSError) else None
        unexpected = refused or EnvsyncError(
            f"unexpected error: {type(error).__name__}: {without_secrets(str(error))}",
            detail="This is a bug in envsync. Nothing that was recorded is lost.",
            hint="Please report it, with what this prints:\n    ENVSYNC_DEBUG=1 envsync …",
        )
        return report(unexpected, as_json=as_json)
    return result if isinstance(result, int) else 0


def _terminate(_: int, __: FrameType | None) -> None:
    raise Terminated


def _interrupted(code: int, word: str) -> int:
    click.echo(f"\n{word}; run it again to go on where it stopped", err=True)
    return code


def _wants_json(arguments: Sequence[str]) -> bool:
    """Tell what the arguments ask for, also when they are too wrong to be parsed."""
    own = itertools.takewhile(lambda one: one != "--", arguments)  # the rest is another program's
    pairs = itertools.pairwise(["", *own])
    return any(two == "--format=json" or (one, two) == ("--format", "json") for one, two in pairs)
