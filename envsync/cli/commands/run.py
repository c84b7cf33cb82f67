"""``envsync run``: a command in an environment, here."""

from __future__ import annotations

import os
from pathlib import Path

import click

from envsync.adapters.running.node_turns import NodeTurns, this_node
from envsync.cli.output import printable
from envsync.cli.progress import progress
from envsync.cli.run_target import find
from envsync.cli.run_wiring import EngineName, open_engine, run_of, script_file
from envsync.cli.session import Session
from envsync.errors import InvalidInput
from envsync.model.job import (
    Job,
    Mount,
    folder_in_container,
    parse_gpus,
    parse_port,
    parse_variable,
    parse_volume,
)
from envsync.operations.locate import locate
from envsync.operations.run import SETUP, Setup, run, setup_of, with_interpreter

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("run", context_settings={"ignore_unknown_options": False})
@click.argument("reference", metavar="REF")
@click.argument("words", nargs=-1, metavar="[-- COMMAND [ARGUMENT...]]", type=click.UNPROCESSED)
@click.option(
    "-e", "--env", "variables", multiple=True, metavar="NAME[=VALUE]", help="Set a variable."
)
@click.option("--volume", "volumes", multiple=True, metavar="PATH[:PLACE[:ro]]", help="Mount more.")
@click.option("-p", "--port", "ports", multiple=True, metavar="[PORT:]PORT", help="Open a port.")
@click.option("--gpus", metavar="N|all", help="GPUs that the command may use.")
@click.option("--user", default="", metavar="USER", help="Run as this user: name or uid[:gid].")
@click.option("--setup", type=_FILE, help="Script that prepares the node, once for each run.")
@click.option("--run-id", default="", help="What the processes of one run have in common.")
@click.option("--node-id", default="", help="What the processes of one node have in common.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "docker", "none"]),
    default="auto",
    help="What runs it; none unpacks the image and needs no engine.",
)
@click.pass_context
def command(
    context: click.Context,
    reference: str,
    words: tuple[str, ...],
    variables: tuple[str, ...],
    volumes: tuple[str, ...],
    ports: tuple[str, ...],
    gpus: str | None,
    user: str,
    setup: Path | None,
    run_id: str,
    node_id: str,
    engine: EngineName,
) -> None:
    """Run COMMAND in an environment, with this folder mounted; the exit code is the command's.

    REF is NAME, NAME@latest, NAME:VERSION, the path of an environment YAML, or a digest.
    """
    session: Session = context.obj
    folder = str(session.folder.resolve())
    place = folder_in_container(folder)
    job = Job(
        command=words,
        folder=place,
        mounts=(*map(_volume, volumes), Mount(source=folder, target=place)),
        variables={
            name: value
            for text in variables
            for name, value in parse_variable(text, session.environ).items()
        },
        user=user,
        gpus=parse_gpus(gpus) if gpus else "",
        ports=tuple(map(parse_port, ports)),
    )

    def told(text: str) -> None:
        click.echo(printable(f"{reference}: {text}"), err=True)

    cache, node = session.cache_folder(), node_id or this_node()
    belongs = run_id or run_of(session.environ)
    content = setup.read_bytes() if setup else b""
    with progress(session) as shown:
        opened = open_engine(session, engine, told)
        target = find(session, reference, opened.platform, shown)
        image = locate(target.place, opened.platform)
        ready = opened.prepare(image, lambda text: shown.step(reference, text))
    setups = setup_of(image, node=node, run=belongs)
    if setup:
        script = Mount(source=str(script_file(cache, content)), target=SETUP, read_only=True)
        setups += (Setup(content=content, mount=script, path=SETUP, node=node, run=belongs),)
    job = with_interpreter(job, image, target.interpreter)
    context.exit(run(image, ready, job, setups, NodeTurns(cache / "setup"), told))


def _volume(text: str) -> Mount:
    mount = parse_volume(text)
    if not os.path.lexists(mount.source):
        raise InvalidInput(f"{mount.source} is not there", detail="Nothing can be mounted from it.")
    return mount
