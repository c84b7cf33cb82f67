"""The conda environment files of real projects, and what envsync says to those it refuses.

``python -m tests.real_conda_files`` writes the table of refusals anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.git.worktree import WorkTree
from envsync.model.conda_file_reader import read_conda_file
from envsync.model.document import Faults, Mapping, Node
from envsync.model.spec import CondaFile
from envsync.operations.requirements import read_pip_section
from tests.golden_cases import DATA
from tests.parts.realdata import shared_data

TABLE = DATA / "refused_conda_files.txt"


def conda_files(data: Path) -> Iterator[tuple[str, CondaFile | None, tuple[str, ...]]]:
    """Yield path, content and faults of each real file that is, or may be, a conda file."""
    tree = WorkTree(data)
    for top in ("azureml", "conda-envs", "malformed/env-yaml"):
        for file in sorted((data / top).rglob("*")):
            path = file.relative_to(data).as_posix()
            if file.suffix not in {".yml", ".yaml", ".txt"} or not file.is_file():
                continue
            if top == "azureml" and (file.suffix == ".txt" or not _has_packages(file)):
                continue
            faults = Faults()
            root = parse_document(file.read_bytes(), path, faults)
            yield path, _read(tree, root, path, faults), tuple(str(fault) for fault in faults)


def _read(tree: WorkTree, root: Node | None, path: str, faults: Faults) -> CondaFile | None:
    if root is None:
        return None
    draft = read_conda_file(root, faults, path=path)
    read_pip_section(tree, draft.pip, str(PurePosixPath(path).parent), faults)
    return draft.file


def _has_packages(file: Path) -> bool:
    root = parse_document(file.read_bytes(), file.name, Faults())
    return isinstance(root, Mapping) and not {"dependencies", "channels"}.isdisjoint(
        key.text for key, _ in root.entries
    )


def refusals(data: Path) -> str:
    """Return every fault of every real conda file, by file."""
    return "".join(f"{fault}\n" for _, _, faults in conda_files(data) for fault in faults)


if __name__ == "__main__":
    TABLE.write_text(refusals(shared_data()))
