"""What a version was made from, for people who look in the registry: SLSA provenance.

It follows from the record and its commit alone. It is not signed: whoever needs a proof compares
it with the record in git, which `envsync which` does.
Source: https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

from envsync.model.canonical import Json
from envsync.model.config import LOCKS
from envsync.model.lock import LOCK_FILE, Lock
from envsync.model.record import Record
from envsync.model.spec import SCRATCH

MEDIA_TYPE = "application/vnd.in-toto+json"
PREDICATE = "https://slsa.dev/provenance/v1"
_BUILD_TYPE = "urn:envsync:environment"


def provenance(record: Record, spec_path: str, lock: Lock) -> Json:
    """Return the statement about a version; *spec_path* is where its spec stands in the commit."""
    materials: list[Json] = [
        {"name": "commit", "digest": {"gitCommit": record.commit}},
        {"name": f"{LOCKS}/{record.name}", "digest": {"sha256": record.lock_sha256}},
    ]
    if lock.conda_lock:
        place = f"{LOCKS}/{record.name}/{LOCK_FILE}"
        materials.append({"name": place, "digest": {"sha256": lock.conda_lock}})
    if record.base_digest and lock.image.image != SCRATCH:
        digest = record.base_digest.removeprefix("sha256:")
        materials.append({"name": lock.image.location, "digest": {"sha256": digest}})
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "name": f"{record.name}:{record.version}",
                "digest": {"sha256": record.digest.removeprefix("sha256:")},
            }
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {
                    "environment": record.name,
                    "version": record.version,
                    "spec": spec_path,
                    "record": f"refs/tags/{record.tag}",
                },
                "internalParameters": {
                    "definition": record.definition,
                    "request": record.request,
                    "platforms": list(record.platforms),
                    "format": record.format,
                },
                "resolvedDependencies": materials,
            },
            "runDetails": {"builder": {"id": f"urn:envsync:image-format:{record.format}"}},
        },
    }
