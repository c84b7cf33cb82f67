"""``envsync show``: one version of an environment."""

from __future__ import annotations

import json

import click

from envsync.adapters.git.worktree import WorkTree
from envsync.cli.output import day, printable, record_document, table, warn
from envsync.cli.session import Session
from envsync.model.lock import LockedPackage
from envsync.model.package_changes import direct_names
from envsync.model.reference import parse_environment_argument
from envsync.operations.look import Shown, show


@click.command("show")
@click.argument("reference")
@click.option("--packages", is_flag=True, help="List every package, not only those asked for.")
@click.option("--dockerfile", is_flag=True, help="Print the Dockerfile that describes the image.")
@click.pass_context
def command(context: click.Context, reference: str, packages: bool, dockerfile: bool) -> None:
    """Show NAME, NAME:VERSION or NAME@latest: its image, its packages, the commit it is from.

    An environment without any version is shown as it is in the working folder.
    """
    session: Session = context.obj
    if dockerfile:
        _show_dockerfile(session, reference)
        return
    parsed = parse_environment_argument(reference)
    config = session.committed_config()
    past, warning = session.past(config)
    found = show(WorkTree(session.root), past, parsed, session.image(config, parsed.name))
    if warning:
        warn(warning)
    if session.format == "json":
        click.echo(json.dumps(_document(found), indent=2, ensure_ascii=False))
    else:
        click.echo(printable(_text(found, packages)))


def _show_dockerfile(session: Session, reference: str) -> None:
    from envsync.cli.exporting import source_of
    from envsync.operations.export import export

    exported = export(source_of(session, reference), "dockerfile")
    texts = {name: data.decode() for name, data in exported.files.items()}
    if session.format == "json":
        document = {"format_version": "1.0", "dockerfile": texts}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(texts.values()), nl=False)


def _text(found: Shown, every: bool) -> str:
    lines = [("name", found.name), ("kind", found.spec.kind)]
    if found.spec.description:
        lines.append(("description", " ".join(found.spec.description.split())))
    lines += [("tag " + key, value) for key, value in sorted(found.spec.tags.items())]
    if found.archived:
        lines.append(("archived", "yes"))
    if found.record is not None:
        record = found.record
        lines += [
            ("version", record.version),
            ("image", found.image),
            ("digest", record.digest),
            ("definition", record.definition),
            ("commit", record.commit),
            ("date", day(record.created)),
        ]
    else:
        lines.append(("version", "none yet"))
    if found.lock is None:
        return _aligned([*lines, ("lock", "none yet")])
    lines.append(("base", _base(found)))
    lines.append(("platforms", ", ".join(found.lock.platforms)))
    text = _aligned(lines)
    for platform in sorted(found.lock.packages):
        text += "\n\n" + _packages(found, platform, every)
    return text


def _base(found: Shown) -> str:
    image = found.lock.image if found.lock else None
    return f"{image.image} {image.digest}".rstrip() if image else ""


def _aligned(lines: list[tuple[str, str]]) -> str:
    width = max(len(key) for key, _ in lines)
    return "\n".join(f"{key:<{width}}  {value}" for key, value in lines)


def _packages(found: Shown, platform: str, every: bool) -> str:
    packages = found.lock.packages[platform] if found.lock else ()
    direct = direct_names(found.spec.conda)
    listed = [p for p in packages if every or p.name in direct.get(p.manager, ())]
    rows = [(p.name, p.version, p.build or "-", p.manager) for p in listed]
    text = table((platform.upper(), "VERSION", "BUILD", "FROM"), rows)
    if len(listed) < len(packages):
        text += f"\n… and {len(packages) - len(listed)} packages that these need (--packages)"
    return text


def _document(found: Shown) -> dict[str, object]:
    lock = found.lock
    return {
        "format_version": "1.0",
        "name": found.name,
        "kind": found.spec.kind,
        "description": found.spec.description,
        "tags": dict(found.spec.tags),
        "archived": found.archived,
        "image": found.image,
        "version": record_document(found.record) if found.record else None,
        "base": {"image": lock.image.image, "digest": lock.image.digest} if lock else None,
        "packages": {
            platform: [_package(package) for package in packages]
            for platform, packages in sorted(lock.packages.items() if lock else ())
        },
    }


def _package(package: LockedPackage) -> dict[str, str]:
    return {
        "name": package.name,
        "version": package.version,
        "build": package.build,
        "manager": package.manager,
        "url": package.url,
        "sha256": package.sha256,
    }
