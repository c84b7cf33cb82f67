"""The request hash: a hash of the spec as written, before anything is resolved.

Name, version, description and tags never count; the order of channels and dependencies does,
because channel order decides what conda installs. Two environments with the same request hash
share one lock, platform by platform, which is why platforms do not count either. What is set in the
image but decides no solve (variables, user) belongs to the definition hash and not to this one.
"""

from __future__ import annotations

from envsync.model.canonical import Json, hash_json, sha256_hex
from envsync.model.config import Config
from envsync.model.definition import ContextFile
from envsync.model.match_spec import squeezed
from envsync.model.spec import Spec

REQUEST_FORMAT = 1


def request_hash(spec: Spec, config: Config, files: tuple[ContextFile, ...] = ()) -> str:
    """Return the request hash of a spec, 64 hexadecimal digits.

    *files* are those of its build context. A lock's own request is without them: it answers which
    images the Dockerfile means, and a changed file of the context is no reason to lock again.
    """
    return hash_json(request_document(spec, config, files))


def request_document(
    spec: Spec, config: Config, files: tuple[ContextFile, ...] = ()
) -> dict[str, Json]:
    """Return what the request hash is taken over."""
    conda: Json = None
    if spec.conda is not None:
        conda = {
            "channels": list(spec.conda.channels or config.channels),
            "nodefaults": spec.conda.nodefaults,
            "dependencies": [squeezed(text) for text in spec.conda.dependencies],
            "pip": [squeezed(text) for text in spec.conda.pip],
            "pip_constraints": [squeezed(text) for text in spec.conda.pip_constraints],
            "wheels": dict(spec.conda.wheels),
        }
    document: dict[str, Json] = {
        "format": REQUEST_FORMAT,
        "image": spec.image,
        "conda": conda,
        "os_type": spec.os_type,
        "virtual_packages": dict(spec.settings.virtual_packages),
    }
    if spec.build is not None:
        document["build"] = {
            "dockerfile_path": spec.build.dockerfile_path,
            "dockerfile": sha256_hex(spec.build.dockerfile.encode()),
            "arguments": dict(spec.settings.build_arguments),
            "secrets": list(spec.settings.build_secrets),
            "files": [file.document() for file in sorted(files)],
        }
    return document
