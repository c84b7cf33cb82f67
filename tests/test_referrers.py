"""What refers to images: provenance and bills of materials, by the schemas of those who made them.

Found through the API or, in registries without one, through the list at a tag.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement as InToto
from in_toto_attestation.v1.statement_pb2 import Statement
from packageurl import PackageURL

from envsync.model.exports.cyclonedx import purl
from envsync.model.lock import LockedPackage
from envsync.model.reading import Present
from envsync.oci.descriptor import INDEX, Descriptor, RawManifest, digest_of
from envsync.oci.referrer import Referrer, referrers_tag, with_referrers
from envsync.operations.attach import attach
from tests.reliability.forked import start
from tests.reliability.oracle import assert_quiet
from tests.reliability.scenes import BOTH
from tests.team import Team
from tests.test_apply import applied

STATEMENT = "application/vnd.in-toto+json"
BILL = "application/vnd.cyclonedx+json"


def referring(team: Team, name: str, subject: str) -> Mapping[str, tuple[Descriptor, Any]]:
    """Return what refers to an image by artifact type, with its document: one of each."""
    place = team.place(name)
    with team.reader() as reader:
        index = reader.manifest(place, referrers_tag(subject))
        assert isinstance(index, Present), f"nothing refers to {subject}"
        found: dict[str, tuple[Descriptor, Any]] = {}
        for entry in index.value.document()["manifests"]:
            manifest = reader.manifest(place, entry["digest"])
            assert isinstance(manifest, Present)
            document = manifest.value.document()
            assert document["subject"]["digest"] == subject
            assert document["artifactType"] == entry["artifactType"]
            assert document.get("annotations") == entry.get("annotations")
            (layer,) = document["layers"]
            with reader.blob(place, Descriptor.parse(layer)) as chunks:
                content = b"".join(chunks)
            assert entry["artifactType"] not in found
            found[entry["artifactType"]] = (Descriptor.parse(entry), json.loads(content))
    return found


def test_a_version_has_provenance_and_a_bill(team: Team) -> None:
    commit = team.ask("train", "tiny-00003")
    applied(team)
    (record,) = team.records("train")
    found = referring(team, "train", record.digest)
    assert found.keys() == {STATEMENT, BILL}
    descriptor, statement = found[STATEMENT]
    assert descriptor.annotations["io.envsync.version"] == "1"
    assert statement["subject"] == [{"name": "train:1", "digest": {"sha256": record.digest[7:]}}]
    read = json_format.ParseDict(statement, Statement())
    InToto.copy_from_pb(read).validate()
    predicate = json_format.ParseDict(statement["predicate"], Provenance())
    for material in predicate.build_definition.resolved_dependencies:
        ResourceDescriptor.copy_from_pb(material).validate()
    materials = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {"name": "commit", "digest": {"gitCommit": commit}} in materials
    spec = statement["predicate"]["buildDefinition"]["externalParameters"]["spec"]
    assert team.repository.git("cat-file", "-t", f"{commit}:{spec}").strip() == "blob"
    lock = team.repository.git("show", f"{commit}:locks/train/conda-lock.yml")
    digests = {one["name"]: one["digest"].get("sha256") for one in materials}
    assert digests["locks/train/conda-lock.yml"] == digest_of(f"{lock}\n".encode())[7:]
    bill = found[BILL][1]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    names = {one["name"] for one in bill["components"]}
    assert names == {f"tiny-0000{number}" for number in range(4)}
    for one in bill["components"]:
        assert PackageURL.from_string(one["purl"]).to_string() == one["purl"]
    assert_quiet(team)


def test_each_platform_has_a_bill_of_its_own(team: Team) -> None:
    team.ask("train", "tiny-00003", text=BOTH)
    applied(team)
    (record,) = team.records("train")
    assert referring(team, "train", record.digest).keys() == {STATEMENT}
    with team.reader() as reader:
        top = reader.manifest(team.place("train"), record.digest)
    assert isinstance(top, Present)
    platforms = []
    for image in top.value.document()["manifests"]:
        found = referring(team, "train", image["digest"])
        assert found.keys() == {BILL}
        platforms.append(found[BILL][1]["metadata"]["properties"][0]["value"])
    assert sorted(platforms) == ["linux-64", "linux-aarch64"]


def test_versions_of_one_image_have_each_their_own_provenance(team: Team) -> None:
    team.ask("train", "tiny-00003")
    applied(team)
    team.ask("train", "tiny-00004")
    applied(team)
    team.repository.git("revert", "--no-edit", "HEAD")
    applied(team)
    first, _, third = team.records("train")
    assert first.digest == third.digest
    with team.reader() as reader:
        index = reader.manifest(team.place("train"), referrers_tag(first.digest))
    assert isinstance(index, Present)
    entries = index.value.document()["manifests"]
    versions = [(one.get("annotations") or {}).get("io.envsync.version", "") for one in entries]
    assert sorted(versions) == ["", "1", "3"]


def test_nothing_is_attached_where_the_settings_say_so(team: Team) -> None:
    team.settings("referrers: false\n")
    team.ask("train", "tiny-00003")
    applied(team)
    assert team.lists("train") == {}
    done = team.envsync("verify")
    assert (done.code, done.out) == (0, "Verified 1 version: git and the registry agree.\n")


def test_what_was_lost_is_found_and_brought_back(team: Team) -> None:
    team.ask("train", "tiny-00003")
    applied(team)
    before = team.lists("train")
    (tag,) = before
    team.move_tag("train", tag, team.tags("train")["1"])
    done = team.envsync("verify")
    assert done.code == 0, "it is no fault of the version"
    assert "(referrer_missing)" in done.out
    team.delete_tag("train", tag)
    assert team.envsync("verify").out == "Verified 1 version: git and the registry agree.\n"


def test_a_death_before_they_are_there_is_made_good(team: Team) -> None:
    team.ask("train", "tiny-00003")
    for side in ("before", "after"):
        code, _ = start(team, "apply", failpoint=f"referrer-put.{side}:kill").ended()
        assert code == -9
        assert "1" not in team.tags("train")
    assert applied(team)["train"]["did"] == "retag"
    (record,) = team.records("train")
    assert referring(team, "train", record.digest).keys() == {STATEMENT, BILL}


def test_what_others_attached_stays(team: Team) -> None:
    team.settings("referrers: false\n")
    team.ask("train", "tiny-00003")
    applied(team)
    (record,) = team.records("train")
    place = team.place("train")
    with team.reader() as registry:
        top = registry.manifest(place, record.digest)
        assert isinstance(top, Present)
        signature = Referrer(
            subject=top.value.descriptor, media_type="application/x.signature", document=b"signed"
        )
        attach([signature], registry, place)
    team.settings()
    team.repository.commit("Attach from now on")
    team.delete_tag("train", "1")
    assert applied(team)["train"]["did"] == "retag"
    found = team.lists("train")
    assert len(found) == 1
    with team.reader() as reader:
        index = reader.manifest(place, referrers_tag(record.digest))
    assert isinstance(index, Present)
    kinds = [entry["artifactType"] for entry in index.value.document()["manifests"]]
    assert kinds == ["application/x.signature", STATEMENT, BILL]


def test_what_cannot_be_attached_is_told_and_stops_nothing(team: Team) -> None:
    team.ask("train", "tiny-00003")
    applied(team)
    (tag,) = team.lists("train")
    team.move_tag("train", tag, team.tags("train")["1"])
    team.delete_tag("train", "1")
    done = team.envsync("apply")
    assert done.code == 0, done.err
    assert team.tags("train").keys() >= {"1", "latest"}
    assert "warning: train 1: its provenance is not in the registry" in " ".join(done.err.split())
    assert "is not the list of what refers to an image" in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("url", "manager", "expected"),
    [
        (
            "https://conda.example/conda-forge/linux-64/numpy-2.1.0-py311h1_0.conda",
            "conda",
            "pkg:conda/numpy@2.1.0?build=py311h1_0&channel=conda-forge&subdir=linux-64&type=conda",
        ),
        (
            "https://conda.example/main/noarch/x-1!2.0+local-h_0.tar.bz2",
            "conda",
            "pkg:conda/numpy@2.1.0?build=py311h1_0&channel=main&subdir=noarch&type=tar.bz2",
        ),
        (
            "https://wheels.example.com/a/numpy-2.1.0-cp311-cp311-linux_x86_64.whl",
            "pip",
            "pkg:pypi/numpy@2.1.0?file_name=numpy-2.1.0-cp311-cp311-linux_x86_64.whl",
        ),
    ],
)
def test_a_package_has_the_url_that_others_would_give_it(
    url: str, manager: Any, expected: str
) -> None:
    package = LockedPackage(
        manager=manager, name="numpy", version="2.1.0", platform="linux-64", url=url,
        sha256="0" * 64, build="py311h1_0" if manager == "conda" else "",
    )  # fmt: skip
    assert purl(package) == expected
    assert PackageURL.from_string(expected).to_string() == expected


def test_a_list_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no image index"):
        with_referrers(RawManifest(media_type=INDEX, body=b'{"manifests": 1}'), [])
