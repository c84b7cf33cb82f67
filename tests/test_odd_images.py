"""Images of other people that are none are refused with their place, whatever is wrong in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from envsync.adapters.registry.oci_layout import LayoutRegistry
from envsync.adapters.registry.oci_layout_files import REF_NAME
from envsync.errors import InvalidInput
from envsync.oci.descriptor import INDEX, MANIFEST, Descriptor, RawManifest, digest_of
from envsync.operations.publish import whole_image
from tests.registry.images import image

GOOD = image("good")
PARTS: Mapping[str, Any] = json.loads(GOOD.manifest.body)


@pytest.mark.parametrize(
    "changed",
    [
        {"config": None},
        {"config": {}},
        {"layers": [None]},
        {"layers": "x"},
        {"layers": [{**PARTS["config"], "size": 1.5}]},
        {"layers": [{**PARTS["config"], "size": "7"}]},
        {"layers": [{**PARTS["config"], "digest": "sha256:0"}]},
        {"layers": [{**PARTS["config"], "annotations": 7}]},
        {"mediaType": INDEX},
        {"mediaType": INDEX, "manifests": [{"digest": 7}]},
    ],
    ids=str,
)
def test_a_manifest_that_names_nonsense_is_refused(changed: dict[str, Any], tmp_path: Path) -> None:
    body = json.dumps({**PARTS, **changed}).encode()
    kind = changed.get("mediaType", MANIFEST)
    entry = Descriptor(media_type=kind, digest=digest_of(body), size=len(body)).document()
    place = tmp_path / "a" / "blobs" / "sha256"
    place.mkdir(parents=True)
    (place / digest_of(body).removeprefix("sha256:")).write_bytes(body)
    named = {**entry, "annotations": {REF_NAME: "1"}}
    (tmp_path / "a" / "index.json").write_text(json.dumps({"manifests": [named]}))
    with pytest.raises(InvalidInput, match="cannot be read") as caught:
        whole_image(LayoutRegistry(tmp_path), "a", "1")
    assert digest_of(body) in caught.value.detail


def test_a_size_is_a_whole_number() -> None:
    for size in (1.0, True, "1", -1, 1 << 70, None):
        with pytest.raises(ValueError, match="not a descriptor"):
            Descriptor.parse({**PARTS["config"], "size": size})


def test_a_manifest_that_is_nested_too_deeply_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        RawManifest(media_type=MANIFEST, body=b"[" * 10_000).document()
