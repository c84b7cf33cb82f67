"""Real data collected from public repositories, which a fresh machine may lack."""

from __future__ import annotations

from pathlib import Path

import zstandard

from tests.parts.cache import ENVIRONMENT, Unavailable, cached, key_of, source_key


def shared_data() -> Path:
    """Return the folder of real data, beside the checkout or where ENVSYNC_TEST_DATA says."""
    beside = Path(__file__).resolve().parents[3] / "shared/data"
    folder = Path(ENVIRONMENT.get("ENVSYNC_TEST_DATA") or beside)
    if not folder.is_dir():
        raise Unavailable("no real data: set ENVSYNC_TEST_DATA to the folder that has it")
    return folder


def repodata_channel(name: str = "conda-forge-2026-08") -> Path:
    """Return a channel of real records without their packages: it can be solved, not installed."""
    source = shared_data() / "repodata" / name
    packed = sorted(source.glob("*/repodata.json.zst"))
    if not packed:
        raise Unavailable(f"the real data has no repodata named {name}")

    def build(folder: Path) -> None:
        for file in packed:
            subdir = folder / file.parent.name
            subdir.mkdir()
            raw = file.read_bytes()
            (subdir / file.name).write_bytes(raw)
            with zstandard.ZstdDecompressor().stream_reader(raw) as reader:
                (subdir / "repodata.json").write_bytes(reader.read())

    key = key_of([source_key("realdata.py"), *(file.read_bytes() for file in packed)])
    return cached("channels", f"{name}-{key}", build)
