"""Carrying a build job out: build, publish while building, verify."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass

from envsync.errors import Conflict
from envsync.model.reference import parse_image_reference
from envsync.oci.codec import CODECS
from envsync.operations.build import build
from envsync.operations.build_job import BuildJob
from envsync.operations.make_layers import Bench
from envsync.operations.parallel import threads
from envsync.operations.prior import Prior, read_prior
from envsync.operations.publish import UPLOADS_AT_ONCE, Uploads, publish
from envsync.ports.builder import Blob, BuiltImage, Workspace
from envsync.ports.progress import Progress
from envsync.ports.registry import RegistryReader, RegistryWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """What jobs are carried out with, in one process."""

    registry: RegistryWriter
    source: Callable[[str], RegistryReader]
    """Opens the registry of a base image by its host."""
    bench: Bench
    workspace: Callable[[], AbstractContextManager[Workspace]]
    uploads: Uploads
    progress: Progress
    verify_layers: bool = False
    """Whether layers are made anew although they are known, and compared."""


def carry_out(job: BuildJob, plant: Plant) -> str:
    """Build and publish; return the digest under which the definition is published, verified.

    Uploads begin while other layers are still being made. Raises Conflict when a recorded version
    would get another digest, or with *verify_layers* when a layer is not what it was.
    """
    base = _base(job, plant)
    prior = _prior(job, plant)
    for digest, repositories in prior.holders.items():
        plant.uploads.learn(digest, repositories)
    sending: list[Future[None]] = []
    with plant.workspace() as workspace, threads(UPLOADS_AT_ONCE) as pool:

        def ready(blob: Blob) -> None:
            place = plant.uploads.place
            sending.append(pool.submit(place, blob, job.repository, plant.progress, job.name))

        image = build(
            job.definition,
            job.lock,
            plant.bench,
            base,
            workspace,
            plant.progress,
            job.name,
            prior=None if plant.verify_layers else prior,
            ready=(lambda _: None) if plant.verify_layers else ready,
        )
        if plant.verify_layers:
            _compare(image, prior)
        if job.digest and job.digest != image.top.digest:
            raise Conflict(
                f"version {job.version} of {job.name} cannot be made again",
                detail=f"Recorded as {job.digest}, built now as {image.top.digest}.",
                hint="The base image or a package changed under its name; restore a backup.",
            )
        for task in sending:
            task.result()
        plant.progress.step(job.name, f"publishing {image.top.digest}")
        return publish(
            image, plant.registry, job.repository, plant.uploads, plant.progress, job.name
        )


def rebuild(job: BuildJob, plant: Plant) -> str:
    """Build from nothing that was made before, publish nothing, and return the digest."""
    with plant.workspace() as workspace:
        base = _base(job, plant)
        image = build(
            job.definition, job.lock, plant.bench, base, workspace, plant.progress, job.name
        )
    return image.top.digest


def _base(job: BuildJob, plant: Plant) -> RegistryReader | None:
    """Take in the job's wheels and return the registry of its base image."""
    for wheel in job.wheels:
        plant.bench.store.keep(wheel)
    if not any(platform.base_digest for platform in job.definition.platforms):
        return None
    return plant.source(parse_image_reference(job.lock.image.location).registry)


def _prior(job: BuildJob, plant: Plant) -> Prior:
    wanted = {package for one in job.definition.platforms for package in one.packages}

    def enough(prior: Prior) -> bool:
        return wanted <= prior.packages.keys()

    return read_prior(plant.registry, job.images, CODECS[job.definition.compression], enough)


def _compare(image: BuiltImage, prior: Prior) -> None:
    """Compare what was made anew with what the registry says of layers with the same key."""
    fresh = Prior(codec=prior.codec)
    for one in image.children or (image.top,):
        fresh.add("", one)
    odd = [
        f"{layer.comment}: made now as {layer.descriptor.digest}, and the registry says "
        f"{prior.layers[key].descriptor.digest}"
        for key, layer in fresh.layers.items()
        if key in prior.layers and prior.layers[key].descriptor != layer.descriptor
    ]
    if odd:
        raise Conflict(
            "layers in the registry are not what their packages give",
            detail="\n".join(odd),
            hint="Somebody wrote them who should not have, or another envsync made them.",
        )
