"""What travels with an image in an archive: the record that git has of it.

It stands as an annotation of the archive's ``index.json``, so that a machine without the repository
knows what it got. What it says is checked against the image: the digest must be the same.
"""

from __future__ import annotations

from envsync.model.canonical import Json, canonical_json
from envsync.model.json_text import read_json
from envsync.model.record import Record, parse_record

RECORD = "io.envsync.record"
"""Annotation with the record."""
IMAGE_NAME = "io.containerd.image.name"
"""Annotation by which containerd and docker call an image that they load."""


def passport(record: Record, name: str) -> dict[str, str]:
    """Return the annotations of an image in an archive; *name* is what it is called there."""
    document: Json = {
        "tag": record.tag,
        "message": record.message(),
        "commit": record.commit,
        "created": record.created,
    }
    return {RECORD: canonical_json(document).decode(), IMAGE_NAME: name}


def read_passport(text: str) -> Record:
    """Read the annotation back; ValueError says what is wrong with it."""
    try:
        document = read_json(text)
        return parse_record(
            str(document["tag"]),
            str(document["message"]),
            commit=str(document["commit"]),
            created=int(document["created"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is no record: {error!r}") from error
