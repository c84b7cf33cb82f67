"""Imports run one way, from the command line down to the model; heavy libraries load late."""

from __future__ import annotations

import ast
from pathlib import Path

import envsync

ROOT = Path(envsync.__file__).parent

ALLOWED = {
    "errors": set[str](),
    "failpoints": {"errors"},
    "model": {"errors"},
    "oci": {"model", "errors"},
    "planning": {"model", "errors"},
    "ports": {"planning", "oci", "model", "errors"},
    "operations": {"failpoints", "ports", "planning", "oci", "model", "errors"},
    "adapters": {"failpoints", "ports", "planning", "oci", "model", "errors"},
    "client": {"operations", "adapters", "ports", "planning", "oci", "model", "errors"},
    "cli": {"client", "operations", "adapters", "failpoints", "ports", "planning", "oci"}
    | {"model", "errors"},
    "__init__": {"client", "planning", "operations", "model", "errors"},
    "__main__": {"cli"},
}
"""Room to the rooms it may import, besides itself."""

ADAPTERS = {
    "files": set[str](),
    "http": set[str](),
    "git": set[str](),
    "running": set[str](),
    "locks": {"files"},
    "registry": {"http", "files"},
    "solving": {"http"},
    "building": {"http", "solving"},
    "engine": {"registry"},
    "forges": {"http", "registry"},
}
"""Room of the adapters to those that it may import, besides itself."""

PURE = {"model", "oci", "planning", "ports", "errors"}
"""Rooms that use the standard library and a short list of pure libraries only."""

EFFECTS = {
    "click", "docker", "git", "httpcore", "httpx", "os", "rattler", "rich", "requests", "shutil",
    "socket", "subprocess", "tempfile", "uv", "time", "random",
}  # fmt: skip

_ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb"}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def first_room(name: str) -> str:
    """Return the room an imported name lives in, '' for other libraries."""
    top, _, rest = name.partition(".")
    part = rest.split(".")[0]
    known = (ROOT / part).is_dir() or (ROOT / f"{part}.py").is_file()
    return part if top == "envsync" and part and known else ""


def test_imports_run_one_way() -> None:
    bad = []
    for path in modules():
        here = room(path)
        for name in imports(path):
            target = first_room(name)
            if target not in {"", here} and target not in ALLOWED[here]:
                bad.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not bad, "\n".join(bad)


def test_adapters_know_few_of_each_other() -> None:
    folder = ROOT / "adapters"
    assert {path.name for path in folder.iterdir() if path.is_dir()} - {"__pycache__"} == set(
        ADAPTERS
    )
    bad = []
    for path in folder.rglob("*.py"):
        here = path.relative_to(folder).parts[0]
        for name in imports(path):
            _, _, rest = name.partition("envsync.adapters.")
            target = rest.split(".")[0]
            if target not in {"", here} and target not in ADAPTERS[here]:
                bad.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not bad, "\n".join(bad)


def test_pure_rooms_have_no_effects() -> None:
    bad = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules()
        if room(path) in PURE
        for name in imports(path)
        if name.split(".")[0] in EFFECTS
    ]
    assert not bad, "\n".join(bad)


def test_only_the_command_line_reads_the_environment_and_prints() -> None:
    bad = []
    for path in modules():
        if room(path) in {"cli", "__main__"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in _ENVIRONMENT:
                bad.append(f"{path.relative_to(ROOT)}:{node.lineno} reads the environment")
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                names = {f"os.{alias.name}" for alias in node.names} & _ENVIRONMENT
                bad += [f"{path.relative_to(ROOT)}:{node.lineno} imports {name}" for name in names]
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                bad.append(f"{path.relative_to(ROOT)}:{node.lineno} prints")
    assert not bad, "\n".join(bad)


def test_modules_stay_small() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in modules()
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long, f"look again at {long}"
