"""``envsync verify``: do git, its commits and the registry still say what was recorded?"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import click

from envsync.cli.errors import error_document, error_text
from envsync.cli.output import printable
from envsync.cli.progress import progress
from envsync.cli.session import Session
from envsync.model.config import Config
from envsync.operations.load import select
from envsync.operations.look import Past
from envsync.operations.moved_bases import moved_bases
from envsync.operations.repair import Repaired, job_of, repair
from envsync.operations.verify import Recorded, Verifier
from envsync.operations.workshop import Workshop
from envsync.planning.findings import Finding, counted, exit_code, findings_text
from envsync.ports.progress import Progress


@click.command("verify")
@click.argument("names", nargs=-1)
@click.option("--images", is_flag=True, help="Read every image as a whole and judge it.")
@click.option("--reproduce", is_flag=True, help="Make every image anew and compare its digest.")
@click.option(
    "--repair",
    "mend",
    is_flag=True,
    help="Bring back what is missing, and put back tags that somebody moved.",
)
@click.pass_context
def command(
    context: click.Context, names: tuple[str, ...], images: bool, reproduce: bool, mend: bool
) -> None:
    """Compare every recorded version with its commit and with the registry.

    NAMES of environments narrow it; globs work. Changes nothing without --repair. Exit code 2: what
    is missing can be brought back; 5: a person must decide.
    """
    session: Session = context.obj
    config = session.committed_config()
    past, known = session.exact_past(config)
    every = sorted({record.name for record in past.records} | {*past.names})
    chosen = select(every, names)
    with progress(session) as shown:
        workshop = session.workshop(config, shown, 2)
        registry, repository = session.registry(config)
        git = session.git(config)
        verifier = Verifier(
            past=past,
            known=known,
            local={record.tag: record for record in git.known_records().records},
            registry=registry,
            repository=repository,
            has_blob=registry.has_blob,
            unreachable=git.unreachable,
            progress=shown,
            referrers=config.referrers,
            orphans=not names,
            images=images,
            reproduce=_anew(session, config, past, workshop, shown) if reproduce else None,
        )
        findings = verifier.verify(chosen)
        repaired: tuple[Repaired, ...] = ()
        if mend and (repaired := repair(findings, past, workshop)):
            findings = verifier.verify(chosen)
        tree, readers = git.tree("HEAD"), session.readers()
        findings += moved_bases(
            tree, readers, session.source, [n for n in chosen if n in past.names]
        )
    checked = sum(record.name in {*chosen} for record in past.records)
    if session.format == "json":
        document = _document(findings, repaired, checked)
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _print(findings, repaired, checked)
    context.exit(exit_code(findings))


def _anew(
    session: Session, config: Config, past: Past, workshop: Workshop, shown: Progress
) -> Callable[[Recorded], str]:
    from envsync.client.build_parts import plant
    from envsync.operations.carry_out import rebuild

    tools = plant(session, config, workshop.registry, shown, workshop.uploads, verify_layers=True)
    return lambda recorded: rebuild(job_of(recorded, past, workshop), tools)


def _print(findings: Sequence[Finding], repaired: Sequence[Repaired], checked: int) -> None:
    for one in repaired:
        what = f"{one.record.name} {one.record.version}"
        if one.error is None:
            click.echo(f"{click.style('✓', fg='green')} {what} {one.did}  {one.record.digest}")
        else:
            click.echo(error_text(one.error, f"{what} failed"), err=True)
    if findings:
        click.echo(printable("\n".join(findings_text(findings))))
    if any(finding.kind == "base_image_moved" for finding in findings):
        click.echo("\nTo take a base image as it is now:\n    envsync lock NAME --upgrade")
    remedies = {finding.remedy for finding in findings}
    if remedies & {"republish", "retag"} and not repaired:
        click.echo("\nTo bring it back as it was recorded:\n    envsync verify --repair")
    versions = f"{checked} version{'' if checked == 1 else 's'}"
    if any(finding.severity != "note" for finding in findings):
        click.echo(f"Verified {versions}: {counted(findings)}.")
    elif findings:
        click.echo(f"Verified {versions}: git and the registry agree; {counted(findings)}.")
    else:
        click.echo(f"Verified {versions}: git and the registry agree.")


def _document(
    findings: Sequence[Finding], repaired: Sequence[Repaired], checked: int
) -> dict[str, object]:
    return {
        "format_version": "1.0",
        "versions": checked,
        "exit_code": exit_code(findings),
        "findings": [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "remedy": finding.remedy,
                "name": finding.name,
                "version": finding.version,
                "text": finding.text,
            }
            for finding in findings
        ],
        "repaired": [
            {
                "name": one.record.name,
                "version": one.record.version,
                "did": one.did,
                "error": error_document(one.error) if one.error else None,
            }
            for one in repaired
        ],
    }
