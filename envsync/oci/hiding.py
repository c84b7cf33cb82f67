"""The layer that hides the environment of a base which is itself an environment.

Packages of two environments in one folder would be neither of them. What a base has outside of the
folder, its settings too, is taken over.
Source: https://github.com/opencontainers/image-spec/blob/main/layer.md#opaque-whiteout
"""

from __future__ import annotations

from envsync.model.canonical import hash_json
from envsync.model.definition import FORMAT
from envsync.oci.codec import Codec
from envsync.oci.entry import ROOT, file_of
from envsync.oci.segment import Contents, Segment

MARK = f"{ROOT}/.wh..wh..opq"
"""The file whose name says that nothing of the folder in lower layers is there."""

HIDING = Contents(head=(), body=(file_of(MARK, b""),))
"""What the layer holds."""


def hiding_segment(codec: Codec) -> Segment:
    """Return the segment of the layer."""
    return Segment(
        key=hash_json({"format": FORMAT, **codec.mark, "hides": ROOT}),
        package=None,
        archive_size=0,
        paths=(MARK,),
    )
