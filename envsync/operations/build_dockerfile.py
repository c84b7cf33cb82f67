"""Building from a Dockerfile: the commit's context goes to an engine, its image comes back as ours.

What is built is what was locked: every image that the Dockerfile names is replaced by its digest.
Layers of those images stay where they are; the engine's own are compressed by us.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from envsync.errors import Fault, InvalidInput, LockStale, Position, Unavailable
from envsync.model.definition import BuildDefinition, Definition
from envsync.model.dockerfile import Instruction, Use, instructions, needs_buildkit, pinned, uses
from envsync.model.document import Faults
from envsync.model.reference import parse_image_reference
from envsync.model.spec import BuildContext
from envsync.oci.config import Settings, marks
from envsync.oci.descriptor import Descriptor
from envsync.oci.engine_image import engine_config, parse_archive_manifest
from envsync.oci.image import config_descriptor, render_manifest
from envsync.oci.run_config import parse_run_config
from envsync.operations.base_layers import read_base
from envsync.operations.contexts import context_tar, read_context
from envsync.operations.resolve import Resolved
from envsync.ports.builder import Blob, BuiltImage, Workspace
from envsync.ports.dockerfiles import BuildLogs, BuildOrder, DockerfileEngine, StepFailed
from envsync.ports.progress import Progress
from envsync.ports.registry import RegistryReader

_CHUNK = 1 << 20
_TAIL = 20
"""Lines of the log that the message of a failed build has."""
_SEARCHED = 8
"""Secrets that are shorter are not looked for in layers: they stand everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSite:
    """What building from Dockerfiles needs."""

    connect: Callable[[], DockerfileEngine]
    """Raises Unavailable when there is no engine."""
    logs: BuildLogs
    secret: Callable[[str], str | None]
    """The value of a variable of this machine."""
    source: Callable[[str], RegistryReader]
    """Registry of an image reference, by its host."""


def build_dockerfile(
    resolved: Resolved, site: BuildSite, workspace: Workspace, progress: Progress, name: str
) -> BuiltImage:
    """Build the image of a ``build`` environment; its blobs can be read as *workspace* stands.

    Raises InvalidInput when the Dockerfile does not build, Unavailable without an engine.
    """
    definition, build = resolved.definition, resolved.spec.build
    made = definition.build
    if build is None or made is None:
        raise ValueError(f"a {definition.kind} definition is not built from a Dockerfile")
    secrets = _secrets(made, site)
    platform = definition.platforms[0].platform
    engine = site.connect()
    if engine.platform != platform:
        raise Unavailable(
            f"{name} is for {platform}, and the engine here builds for {engine.platform}",
            hint=f"Name an engine for {platform}:\n    export DOCKER_HOST=…",
        )
    faults = Faults()
    found = uses(build.dockerfile, made.arguments, build.file, faults)
    context = read_context(resolved.tree, build)
    if context.files != made.files:
        raise LockStale("the context is not the one of the definition", detail=build.path)
    text = pinned(build.dockerfile, found, made.bases)
    settings = Settings(
        platform=platform,
        definition_hash=definition.hash,
        base_digest="",
        variables={},
        user="",
        entry_point="",
    )
    order = BuildOrder(
        context=lambda: context_tar(context, build.dockerfile_path, text),
        dockerfile_path=build.dockerfile_path,
        arguments=made.arguments,
        labels=marks(settings),
        registries=tuple(sorted({_host(use) for use in found})),
        secrets=secrets,
        buildkit=bool(secrets) or needs_buildkit(text),
        timeout=resolved.spec.settings.build_timeout,
    )
    image = _built(order, engine, site.logs, definition, build, progress, name)
    progress.step(name, "taking the image out of the engine")
    return _taken(
        engine.save(image), definition, marks(settings), _known(found, made, site.source),
        workspace, progress, name, secrets,
    )  # fmt: skip


def _host(use: Use) -> str:
    return parse_image_reference(use.image).registry


def _secrets(made: BuildDefinition, site: BuildSite) -> dict[str, str]:
    found = {name: site.secret(name) for name in made.secrets}
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise InvalidInput(
            "a build secret is not set on this machine",
            detail=f"The spec asks for {', '.join(missing)}.",
            hint="\n".join(f"    export {name}=…" for name in missing),
        )
    return {name: value for name, value in found.items() if value}


def _built(
    order: BuildOrder,
    engine: DockerfileEngine,
    logs: BuildLogs,
    definition: Definition,
    build: BuildContext,
    progress: Progress,
    name: str,
) -> str:
    tail: list[str] = []
    # The log comes line by line, so a secret of several lines is hidden line by line.
    hidden = [line for secret in order.secrets.values() for line in secret.splitlines() if line]

    with logs.write(definition.hash) as keep:

        def log(line: str) -> None:
            for part in hidden:
                line = line.replace(part, "***")
            keep(line)
            tail.append(line)
            del tail[:-_TAIL]
            if line.startswith("Step "):
                progress.step(name, line.partition("\n")[0][:100])

        try:
            return engine.build(order, log)
        except StepFailed as error:
            raise _failure(error, build, tail, name) from error
        except Unavailable as error:
            log(str(error))
            error.hint = error.hint or f"What it said:\n    envsync logs {name}"
            raise


def _failure(error: StepFailed, build: BuildContext, tail: list[str], name: str) -> InvalidInput:
    steps = instructions(build.dockerfile)
    hint = f"The whole log:\n    envsync logs {name}"
    said = tail[-1] if tail else ""
    number = error.step or _place(steps, error.written)
    if not 0 < number <= len(steps):
        where = Position(file=build.file)
        return InvalidInput(
            f"the Dockerfile of {name} does not build",
            detail=f"{where}: {said}",
            hint=hint,
            faults=(Fault(where=where, message=said),),
        )
    step = steps[number - 1]
    where = Position(file=build.file, line=step.line, column=1)
    written = f"{step.keyword} {step.rest}"
    shown = written if len(written) <= 100 else f"{written[:99]}…"
    message = f"step {number} of {len(steps)} failed: {shown}"
    last = "\n".join(f"    {line}" for line in tail)
    return InvalidInput(
        f"the Dockerfile of {name} does not build",
        detail=f"{where}: {message}\n{last}",
        hint=hint,
        faults=(Fault(where=where, message=message),),
    )


def _place(steps: tuple[Instruction, ...], written: str) -> int:
    """Return the number of an instruction by its text, 0 when the Dockerfile has it not."""
    wanted = written.split()
    texts = ([step.keyword, *step.rest.split()] for step in steps)
    return next((number for number, text in enumerate(texts, start=1) if text == wanted), 0)


def _known(
    found: tuple[Use, ...], made: BuildDefinition, source: Callable[[str], RegistryReader]
) -> dict[str, Blob]:
    """Return by diff id the layers that the images below already have in their registries."""
    known: dict[str, Blob] = {}
    for use in found:
        reference = parse_image_reference(use.image)
        reader = source(reference.registry)
        try:
            base = read_base(reader, reference.repository, made.bases[use.key])
            config = parse_run_config(base.config, str(reference))
        except InvalidInput:
            continue  # no layer of it can stand in our image as it is; the engine's copy can
        known.update(zip(config.diff_ids, base.layers, strict=False))
    return known


def _taken(
    archive: Iterator[bytes],
    definition: Definition,
    labels: Mapping[str, str],
    known: Mapping[str, Blob],
    workspace: Workspace,
    progress: Progress,
    name: str,
    secrets: Mapping[str, str],
) -> BuiltImage:
    """Return what ``docker save`` gives as an image with our layers and our config."""
    file = workspace.staging("saved") / "image.tar"
    _spool(archive, file)
    watched = {key: value.encode() for key, value in secrets.items() if len(value) >= _SEARCHED}
    blobs: list[Blob] = []
    with tarfile.open(file, "r:") as saved:
        image = parse_archive_manifest(_member(saved, "manifest.json").read())
        body = _member(saved, image.config).read()
        platform = definition.platforms[0].platform
        config, diff_ids = engine_config(body, platform, labels)
        for secret in (key for key, value in watched.items() if value in config):
            raise _leaked(secret, "the image's config")
        if len(diff_ids) != len(image.layers):
            raise Unavailable("the engine's image has not one diff id for each layer")
        for diff_id, path in zip(diff_ids, image.layers, strict=True):
            if diff_id in known:
                blobs.append(known[diff_id])
                continue
            progress.step(name, f"compressing layer {len(blobs) + 1} of {len(diff_ids)}")
            content = _watched(_plain(_member(saved, path)), watched)
            _, found, blob = workspace.pack(content, lambda _: None)
            if found != diff_id:
                raise Unavailable(
                    "the engine gave other bytes than its image has",
                    detail=f"Layer {path} is {found}, the config says {diff_id}.",
                )
            blobs.append(blob)
    file.unlink()
    manifest = render_manifest(config, [_listed(blob.descriptor) for blob in blobs], labels)
    own = Blob(descriptor=config_descriptor(config), open=lambda: nullcontext(io.BytesIO(config)))
    unique = {blob.descriptor.digest: blob for blob in (*blobs, own)}
    progress.step(name, f"built {manifest.digest}")
    return BuiltImage(
        definition=definition, top=manifest, children=(), blobs=tuple(unique.values())
    )


def _listed(descriptor: Descriptor) -> Descriptor:
    return Descriptor(
        media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size
    )


def _spool(archive: Iterator[bytes], file: Path) -> None:
    try:
        with file.open("wb") as out:
            for chunk in archive:
                out.write(chunk)
    except OSError as error:
        raise Unavailable("the image that was built cannot be kept", detail=str(error)) from error


def _member(saved: tarfile.TarFile, path: str) -> IO[bytes]:
    """Open a file of an archive; equal layers stand in it once, as links to each other."""
    try:
        found = saved.extractfile(path)
    except (KeyError, tarfile.TarError) as error:
        raise Unavailable("the engine's archive is not whole", detail=str(error)) from error
    if found is None:
        raise Unavailable("the engine's archive is not whole", detail=f"{path} is no file.")
    return found


def _plain(layer: IO[bytes]) -> Iterator[bytes]:
    """Yield a layer's tar; some engines save layers compressed."""
    start = layer.read(2)
    layer.seek(0)
    source = gzip.GzipFile(fileobj=layer) if start == b"\x1f\x8b" else layer
    while chunk := source.read(_CHUNK):
        yield chunk


def _watched(content: Iterator[bytes], watched: Mapping[str, bytes]) -> Iterator[bytes]:
    """Yield *content*; InvalidInput when a secret stands in it."""
    longest = max(map(len, watched.values()), default=1)
    before = b""
    for chunk in content:
        together = before + chunk if watched else b""
        for name, value in watched.items():
            if value in together:
                raise _leaked(name, "a layer")
        before = together[-longest:]
        yield chunk


def _leaked(name: str, where: str) -> InvalidInput:
    return InvalidInput(
        f"the build secret {name} stands in {where}",
        detail="Nothing was published.",
        hint="A step wrote it into a file, or printed it into one. Keep it in the step that needs"
        f" it:\nRUN --mount=type=secret,id={name} …",
    )
