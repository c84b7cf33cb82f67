"""A package index on disk, with tiny wheels that a test makes up."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path


class Index:
    """A folder laid out as PEP 503 says; its URL can be given to any installer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._links: dict[str, list[str]] = {}

    @property
    def url(self) -> str:
        """The URL for ``--index-url``."""
        return (self._folder / "simple").as_uri()

    def variables(self) -> dict[str, str]:
        """Return variables that make this the only index."""
        return {"UV_DEFAULT_INDEX": self.url, "PIP_CONFIG_FILE": "/dev/null"}

    def wheel(
        self, name: str, version: str, requires: Sequence[str] = (), tag: str = "py3-none-any"
    ) -> str:
        """Add a wheel and return its SHA-256."""
        stem = f"{name.replace('-', '_')}-{version}"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
            metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
            files = {
                "METADATA": metadata,
                "WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
                "RECORD": "",
            }
            for member, content in files.items():
                archive.writestr(zipfile.ZipInfo(f"{stem}.dist-info/{member}"), content)
        return self._add(name, f"{stem}-{tag}.whl", buffer.getvalue())

    def source(self, name: str, version: str, content: bytes) -> str:
        """Add a source archive and return its SHA-256."""
        return self._add(name, f"{name}-{version}.tar.gz", content)

    def _add(self, name: str, file: str, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        files = self._folder / "files"
        files.mkdir(parents=True, exist_ok=True)
        (files / file).write_bytes(content)
        links = self._links.setdefault(name, [])
        links.append(f'<a href="../../files/{file}#sha256={digest}">{file}</a>')
        page = self._folder / "simple" / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"<!DOCTYPE html><html><body>{'<br>'.join(links)}</body></html>")
        return digest
