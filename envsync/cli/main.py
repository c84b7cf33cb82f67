"""The command ``envsync``: its commands, loaded when they are used, and how errors end it."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import click

from envsync import __version__
from envsync.cli.errors import report
from envsync.cli.session import Session
from envsync.errors import EnvsyncError, Misuse

COMMANDS = {
    "init": "Make this folder a repository that uses envsync.",
    "new": "Write a starter spec.",
    "validate": "Report every fault of settings and specs.",
    "lock": "Resolve unpinned dependencies into lock files.",
    "plan": "Show what apply would do, and why. Changes nothing.",
    "apply": "Build and publish what differs, and record it in git.",
    "status": "Show in short how environments, locks and registry stand.",
    "list": "List environments and their latest versions.",
    "show": "Show one version: image, packages, commit.",
    "history": "List the versions of an environment.",
    "diff": "Show what differs between two versions.",
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
        command = import_module(f"envsync.cli.commands.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name} is not a command")
        if not any(parameter.name == "format" for parameter in command.params):
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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their summaries, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _set_format(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value == "json":
        context.obj.format = "json"


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="envsync")
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
    context.obj = Session(
        folder=directory,
        environ=os.environ,
        interactive=sys.stderr.isatty() and "CI" not in os.environ,
    )
    context.call_on_close(context.obj.closing.close)


def main() -> None:
    """Run the command line and exit with the code of the release protocol."""
    signal.signal(signal.SIGTERM, _terminate)
    context: dict[str, Any] = {}
    code = _guarded(lambda: cli.main(standalone_mode=False, obj=context), "json" in sys.argv)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe has seen enough; Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _terminate(_: int, __: FrameType | None) -> None:
    raise Terminated


def _guarded(run: Callable[[], object], as_json: bool) -> int:
    """Run and return the exit code; every error ends here, and none as a traceback."""
    try:
        result = run()
    except EnvsyncError as error:
        return report(error, as_json=as_json)
    except click.UsageError as error:
        usage = error.ctx.get_usage() if error.ctx else ""
        hint = f"Help:\n    {error.ctx.command_path} --help" if error.ctx else ""
        return report(Misuse(error.format_message(), detail=usage, hint=hint), as_json=as_json)
    except click.ClickException as error:
        return report(Misuse(error.format_message()), as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\ninterrupted; run it again to go on where it stopped", err=True)
        return 130
    except Terminated:
        click.echo("terminated; run it again to go on where it stopped", err=True)
        return 143
    except BrokenPipeError:
        return 0
    except Exception as error:  # noqa: BLE001 - the boundary: a bug is reported in one line
        if os.environ.get("ENVSYNC_DEBUG"):
            traceback.print_exc()
        unexpected = EnvsyncError(
            f"unexpected error: {type(error).__name__}: {error}",
            detail="This is a bug in envsync. Nothing that was recorded is lost.",
            hint="Please report it, with what this prints:\n    ENVSYNC_DEBUG=1 envsync …",
        )
        return report(unexpected, as_json=as_json)
    return result if isinstance(result, int) else 0
