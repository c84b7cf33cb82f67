"""Dockerfiles and ignore files, judged by git and by Docker's own library."""

from __future__ import annotations

import dataclasses
import posixpath
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from docker.utils.build import exclude_paths
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envsync.adapters.files.strict_yaml import parse_document
from envsync.model.config import Config
from envsync.model.definition import BuildDefinition, ContextFile, Definition, definition_of
from envsync.model.dockerfile import instructions, pinned, uses
from envsync.model.document import Faults
from envsync.model.ignore_files import Ignored, docker_rules, git_rules
from envsync.model.lock import ImageLock, Lock
from envsync.model.request import request_hash
from envsync.model.settings_reader import read_settings
from envsync.model.spec import BuildContext, Settings, Spec
from envsync.operations.contexts import context_tar, read_context
from envsync.ports.tree import FileKind, TreeFile
from tests.reliability.counts import count

DIGEST = f"sha256:{'a' * 64}"


def images(text: str, **arguments: str) -> list[str]:
    faults = Faults()
    found = [use.key for use in uses(text, arguments, "Dockerfile", faults)]
    assert not len(faults), list(faults)
    return found


def problems(text: str, **arguments: str) -> list[str]:
    faults = Faults()
    uses(text, arguments, "Dockerfile", faults)
    return [f"{fault.where.line}: {fault.message}" for fault in faults]


# ---- which images a Dockerfile names ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM debian:12\n", ["debian:12"]),
        ("from debian:12 as x\nFROM x\n", ["debian:12"]),
        ("FROM scratch\nCOPY a /\n", []),
        ("\ufeff# c\r\n\r\nFROM debian\r\n", ["debian"]),
        ("ARG V=12\nFROM debian:$V\n", ["debian:12"]),
        ('ARG V=12\nARG I="debian:${V}"\nFROM ${I}\n', ["debian:12"]),
        ("FROM debian:${V:-11}\n", ["debian:11"]),
        ("ARG V=1\nFROM debian${V:+:12}\n", ["debian:12"]),
        ("FROM \\\n# why\n\n  debian:12 \\\n AS x\n", ["debian:12"]),
        ("# escape=`\nFROM `\n debian:12\n", ["debian:12"]),
        ("FROM --platform=linux/arm64/v8 debian\n", ["debian linux-aarch64"]),
        ("FROM --platform=$BUILDPLATFORM debian\n", ["debian"]),
        ("FROM a AS x\nCOPY --from=x /a /b\nCOPY --from=0 / /\n", ["a"]),
        ("FROM a AS x\nCOPY --from=b:1 / /\n", ["a", "b:1"]),
        ("FROM a\nRUN --mount=type=bind,from=tools:2,target=/t /t/x\n", ["a", "tools:2"]),
        ("FROM a\nRUN <<END\nFROM b\nEND\nFROM c\n", ["a", "c"]),
        ("FROM a\nRUN echo --from=b from=c\n", ["a"]),
        (f"FROM a:1@{DIGEST}\n", [f"a:1@{DIGEST}"]),
    ],
)  # fmt: skip
def test_the_images_that_a_dockerfile_names_are_found(text: str, expected: list[str]) -> None:
    assert images(text) == expected


def test_what_stands_behind_the_last_brace_is_filled_too() -> None:
    assert images("ARG A=x\nFROM host/${A}/$A:$A\n") == ["host/x/x:x"]
    # Each of these begins a variable and none ends: that takes a moment, not minutes.
    uses("FROM " + "${x:-" * 100_000, {}, "Dockerfile", Faults())


def test_arguments_win_over_defaults() -> None:
    assert images("ARG V=12\nFROM debian:$V\n", V="13") == ["debian:13"]
    assert images("ARG V\nFROM debian:$V\n", V="13") == ["debian:13"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN true\n", ["0: There is no FROM in the Dockerfile"]),
        ("ARG V\nFROM debian:$V\n", ["2: 'V' has no value here"]),
        ("FROM a b c d\n", ["1: This FROM cannot be read"]),
        ("FROM\n", ["1: This FROM cannot be read"]),
        ("FROM Debian:12\n", ["1: 'Debian:12' is not an image reference"]),
        ("FROM a\nFROM --platform=linux/s390x b\n",
         ["2: 'linux/s390x' is no platform that images are made for"]),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_dockerfile_is_told_with_its_line(
    text: str, expected: list[str]
) -> None:
    assert problems(text) == expected


def test_every_image_is_replaced_by_its_digest_and_no_line_moves() -> None:
    text = (
        "# syntax=docker/dockerfile:1\nARG I=m:1\n"
        "FROM --platform=linux/arm64 \\\n  # m:1\n  $I AS x\n"
        "FROM m:1\nRUN echo m:1\nCOPY --from=m:1 --chown=1 /m:1 /\nCOPY --from=x / /\n"
    )
    found = uses(text, {}, "Dockerfile", Faults())
    exact = pinned(text, found, {use.key: DIGEST for use in found})
    name = f"docker.io/library/m@{DIGEST}"
    assert exact == (
        f"# not used: docker/dockerfile:1\nARG I=m:1\nFROM --platform=linux/arm64 \\\n  # m:1\n"
        f"  {name} AS x\nFROM {name}\nRUN echo m:1\nCOPY --from={name} --chown=1 /m:1 /\n"
        "COPY --from=x / /\n"
    )
    again = uses(exact, {}, "Dockerfile", Faults())
    assert {use.image for use in again} == {name}


@given(st.text(alphabet="FROMrunARG $V{}:-=\\\n#\"'<<E a/@", max_size=80))
def test_no_text_breaks_the_reading_of_a_dockerfile(text: str) -> None:
    steps = instructions(text)
    assert all(1 <= s.line <= s.last <= text.count("\n") + 1 for s in steps)
    uses(text, {}, "Dockerfile", Faults())


HIDDEN = {
    "a heredoc in quotes": "FROM a\nRUN echo '<<END'\nFROM hidden\nRUN true\nEND\n",
    "a heredoc within a word": "FROM a\nRUN echo x<<END\nFROM hidden\nEND\n",
    "a heredoc that is escaped": "FROM a\nRUN echo \\<<END\nFROM hidden\nEND\n",
    "three arrows": "FROM a\nRUN cat <<<END\nFROM hidden\nEND\n",
    "an end with spaces": "FROM a\nRUN <<END\n END\nRUN <<FOO\nEND\nFROM hidden\nFOO\n",
    "an end with tabs": "FROM a\nRUN <<END\n\tEND\nRUN <<FOO\nEND\nFROM hidden\nFOO\n",
    "an escape after another directive": "# a = b c\n# escape=`\nFROM a\nRUN x \\\nFROM hidden\n",
    "an escape after a space": " # escape=`\nFROM a\nRUN x \\\nFROM hidden\n",
}  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN)
def test_no_image_hides_in_what_another_instruction_says(name: str) -> None:
    assert images(HIDDEN[name]) == ["a", "hidden"]
    count("X3", payloads=1, refused=1)


@pytest.mark.parametrize(
    "head",
    ["# syntax=evil", "#syntax = evil", " # syntax=evil", "// syntax=evil", "//SYNTAX=evil",
     "\ufeff# Syntax=evil", "#!/bin/x\n# syntax=evil", "# note = a b\n# syntax=evil --flag",
     "# escape=`\n# syntax=evil", "\n# syntax=evil", "#!/bin/x\n// syntax=evil"],
)  # fmt: skip
def test_no_frontend_that_is_not_locked_is_fetched(head: str) -> None:
    text = f"{head}\nFROM m:1\nRUN <<E\n# syntax=kept\nE\n"
    found = uses(text, {}, "Dockerfile", Faults())
    exact = pinned(text, found, {use.key: DIGEST for use in found})
    assert not re.search(r"^\s*(#|//)\s*syntax\s*=\s*evil", exact, re.MULTILINE | re.IGNORECASE)
    assert "# syntax=kept" in exact
    assert exact.count("\n") == text.count("\n")
    count("X13", arguments=1, never_run=1)


def test_an_argument_is_not_for_the_builder() -> None:
    faults = Faults()
    text = b"build_arguments: {BUILDKIT_SYNTAX: evil/frontend, OTHER: x}"
    found = read_settings(parse_document(text, "e.yaml", faults), faults)
    assert [fault.where.line for fault in faults] == [1]
    assert found.build_arguments == {"OTHER": "x"}
    count("X13", arguments=1, refused=1)


def test_variables_that_double_are_cut_off() -> None:
    doubled = "".join(f"ARG A{n + 1}=$A{n}$A{n}\n" for n in range(200))
    assert len(problems(f"ARG A0=aaaa\n{doubled}FROM $A200\n")) == 1
    assert len(problems(f"ARG A0={'a' * 4000}\nARG B={'$A0' * 100_000}\nFROM $B\n")) == 1
    assert len(images("FROM a AS b\n" * 50_000)) == 50_000
    count("X1", bombs=3, refused=2, harmless=1)


# ---- ignore files ----

PATHS = [
    "a", "b.txt", "dir/a", "dir/b.txt", "dir/sub/c.pyc", "dir/sub/keep.pyc", "other/dir/a", "x y",
    "Dockerfile", ".dockerignore", "#odd", "[z]", "dir.txt", "deep/1/2/3/a",
]  # fmt: skip

DOCKER_TABLE = [
    "a", "/a", "a/", "./a", "dir", "dir/", "*/a", "**/a", "**/*.pyc", "*.txt", "dir/*", "dir/**",
    "**", "*", "*\n!b.txt", "dir\n!dir/sub", "dir\n!dir/sub/keep.pyc", "!a\na", "a\n!a", "# a\na",
    "  a  ", "?", "[a-b]", "d?r", "*/sub", "**/sub/*.pyc\n!**/keep.pyc", "deep/**/a",
    "deep/*/a", "other/../dir", "x y", "**/dir/**", "",
]  # fmt: skip


@pytest.mark.parametrize("rules", DOCKER_TABLE)
def test_dockerignore_means_what_dockers_own_library_makes_of_it(
    rules: str, tmp_path: Path
) -> None:
    for path in PATHS:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    patterns = [line.strip() for line in rules.splitlines()]
    patterns = [line for line in patterns if line and not line.startswith("#")]
    # The library keeps both files, for the engine needs them; neither is asked about here.
    asked = set(PATHS) - {"Dockerfile", ".dockerignore"}
    kept = exclude_paths(str(tmp_path), patterns)
    ignored = docker_rules(rules, ".dockerignore", Faults())
    assert {path for path in asked if not ignored(path)} == asked & kept


@pytest.mark.parametrize(
    ("rules", "out"),
    [
        ("[^b]", {"a"}),
        ("[^a]", set()),
        ("\\#odd", {"#odd"}),
        ("\\[z]", {"[z]"}),
        ("[[]z]", {"[z]"}),
    ],
)
def test_dockerignore_has_the_patterns_of_go(rules: str, out: set[str]) -> None:
    ignored = docker_rules(rules, ".dockerignore", Faults())
    assert {path for path in PATHS if ignored(path)} == out


@pytest.mark.parametrize("rules", [git_rules, docker_rules])
def test_a_rule_that_is_longer_than_any_path_is_told_with_its_line(
    rules: Callable[[str, str, Faults], Ignored],
) -> None:
    faults = Faults()
    ignored = rules("a\n" + "x*" * 3_000 + "\nb\n", "rules", faults)
    assert [str(fault.where) for fault in faults] == ["rules:2:1"]
    assert "has 6000 characters" in str(next(iter(faults)))
    assert [ignored(path) for path in "abc"] == [True, True, False]


def test_a_gitignore_with_a_range_that_goes_backwards_is_told() -> None:
    faults = Faults()
    git_rules("b[c-- d]\n", ".gitignore", faults)
    assert "'b[c-- d]' is no pattern" in str(next(iter(faults)))


def test_a_dockerignore_that_cannot_be_read_is_told_with_its_line() -> None:
    faults = Faults()
    docker_rules("a\n!\n[a\n", ".dockerignore", faults)
    assert [f"{f.where.line}: {f.message}" for f in faults] == [
        "2: There is nothing after '!'",
        "3: '[a' is no pattern",
    ]


GIT_TABLE = [
    "a", "/a", "dir/", "*.pyc", "!keep.pyc\n*.pyc", "*.pyc\n!keep.pyc", "dir/*\n!dir/sub",
    "**/a", "deep/**/a", "dir/sub", "# a", "\\#odd", "x\\ y", "*", "/*\n!/dir", "[ab]*",
    "other/*/a", "dir\n!dir/a", "dir/**", "/**/c.pyc", "**/sub/", "[!ab]*", "[[:alpha:]]", "\\a",
    "*.tx?", "d*/s*/*.p*c", "[]x]*", "a ", "a\\ ", "!*\n*", "***/a", "dir/***", "[a-", "x[", "/",
    "[z-a]x\na", "a\\",
]  # fmt: skip


@pytest.mark.parametrize("rules", GIT_TABLE)
def test_gitignore_means_what_git_makes_of_it(rules: str, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    for path in PATHS:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    (tmp_path / ".gitignore").write_text(rules + "\n")
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin", "-z"],
        cwd=tmp_path, input="\0".join(PATHS).encode(), capture_output=True,
    )  # fmt: skip
    expected = set(done.stdout.decode().split("\0")) - {""}
    ignored = git_rules(rules, ".gitignore", Faults())
    assert {path for path in PATHS if ignored(path)} == expected


LONG = {
    "folders": "a/" * 400 + "y",
    "one name": "a" * 255,
    "names": "/".join(["ac" * 100] * 20),
}
PATIENCE = [
    "**/" * 200 + "x", "**/a/" * 60 + "x", "*a" * 100 + "b", "a/*a*a*a*/" * 20 + "x",
    "**/*a*/**/*b*/**/*c*/**/x", "[ab]*" * 60 + "x", "?*" * 100 + "x", "**a" * 4 + "x",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATIENCE, ids=lambda text: text[:20])
@pytest.mark.parametrize("path", LONG)
def test_a_pattern_cannot_keep_a_plan_busy(pattern: str, path: str) -> None:
    for rules in (docker_rules, git_rules):
        faults = Faults()
        assert not rules(pattern, ".ignore", faults)(LONG[path])
        assert not len(faults)
        assert rules(f"{pattern}\n**/*", ".ignore", faults)(LONG[path])
    count("X1", bombs=2, harmless=2)


def test_a_dockerignore_with_stars_in_too_many_names_is_refused() -> None:
    faults = Faults()
    docker_rules("a**" * 40 + "b", ".dockerignore", faults)
    assert [fault.where.line for fault in faults] == [1]
    count("X1", bombs=1, refused=1)


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(["a", "b", "*", "**", "/", "?", "**/", "/**/", "ab"]), max_size=6),
    st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4),
)
def test_dockerignore_means_what_its_one_regular_expression_would(
    atoms: list[str], names: list[str]
) -> None:
    """The translation that moby's patternmatcher makes, which is right, and can take for ever."""
    pattern = posixpath.normpath("".join(atoms) or "a").lstrip("/")
    found = re.sub(
        r"\*\*/?|\*|\?|/|\w",
        lambda m: (
            {"*": "[^/]*", "?": "[^/]", "**": "(?:.*/)?", "**/": "(?:.*/)?"}.get(m[0], m[0])
            if m.end() < len(pattern) or not m[0].startswith("**")
            else ".*"
        ),
        pattern,
    )
    ways = ["/".join(names[:count]) for count in range(1, len(names) + 1)]
    expected = any(re.fullmatch(found, way) for way in ways)
    faults = Faults()
    ignored = docker_rules("".join(atoms) or "a", ".dockerignore", faults)
    if not len(faults):
        assert ignored("/".join(names)) == expected


# ---- contexts ----


Files = dict[str, bytes | tuple[FileKind, bytes]]


class Folder:
    """A tree of one context; implements `envsync.ports.tree.ContextTree`."""

    label = "a tree"

    def __init__(self, files: Files) -> None:
        self._files: dict[str, tuple[FileKind, bytes]] = {
            path: found if isinstance(found, tuple) else ("file", found)
            for path, found in files.items()
        }

    def read(self, path: str) -> bytes | None:
        return None

    def list(self, folder: str) -> tuple[str, ...]:
        return ()

    def files(self, folder: str) -> Sequence[TreeFile]:
        def reader(data: bytes) -> Callable[[], bytes]:
            return lambda: data

        return [
            TreeFile(path=path, kind=kind, read=reader(data))
            for path, (kind, data) in sorted(self._files.items())
        ]


BUILD = BuildContext(path="ctx", dockerfile="FROM a\n")


def names(files: Files) -> list[str]:
    return [file.path for file in read_context(Folder(files), BUILD).files]


def test_amlignore_wins_over_gitignore_and_dockerignore_counts_besides() -> None:
    files: Files = {
        "a": b"",
        "b": b"",
        "c": b"",
        "Dockerfile": b"",
    }
    git: Files = {".gitignore": b"a\n.*\n"}
    aml: Files = {".amlignore": b"b\n.*\n"}
    docker: Files = {".dockerignore": b"c\n"}
    assert names(files) == ["Dockerfile", "a", "b", "c"]
    assert names({**files, **git}) == ["Dockerfile", "b", "c"]
    assert names({**files, **git, **aml}) == ["Dockerfile", "a", "c"]
    assert names({**files, **aml, **docker}) == ["Dockerfile", "a"]
    # Only at the root of the context.
    assert names({**files, "d/.gitignore": b"*\n", "d/e": b""})[-1] == "d/e"


def test_a_tar_follows_from_the_files_alone() -> None:
    files: Files = {
        "b": b"2", "a/x": ("executable", b"1"), "l": ("link", b"a/x"), "Dockerfile": b"old",
    }  # fmt: skip
    one = read_context(Folder(files), BUILD)
    two = read_context(Folder(dict(reversed(files.items()))), BUILD)
    tar = b"".join(context_tar(one, "Dockerfile", "new"))
    assert tar == b"".join(context_tar(two, "Dockerfile", "new"))
    assert b"new" in tar
    assert b"old" not in tar


# ---- what moves the hashes ----

SPEC = Spec(
    name="app",
    path="environments/app/environment.yaml",
    build=BUILD,
    settings=Settings(build_arguments={"A": "1"}, build_secrets=("TOKEN",)),
)
FILES = (
    ContextFile(path="Dockerfile", mode="file", sha256="1" * 64),
    ContextFile(path="run.sh", mode="file", sha256="2" * 64),
)
LOCK = Lock(image=ImageLock(request="0" * 64, image="", bases={"linux-64": {"a": DIGEST}}))


def hashes(spec: Spec = SPEC, lock: Lock = LOCK, files: tuple[ContextFile, ...] = FILES) -> Any:
    return definition_of(spec, lock, files).hash, request_hash(spec, Config(), files)


def with_build(**changes: str) -> Spec:
    return dataclasses.replace(SPEC, build=dataclasses.replace(BUILD, **changes))


def with_settings(**changes: Any) -> Spec:
    return dataclasses.replace(SPEC, settings=dataclasses.replace(SPEC.settings, **changes))


def other(**changes: str) -> tuple[ContextFile, ...]:
    return (FILES[0], dataclasses.replace(FILES[1], **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "moves"),
    [
        ({"files": FILES[:1]}, (True, True)),
        ({"files": other(mode="executable")}, (True, True)),
        ({"files": other(sha256="3" * 64)}, (True, True)),
        ({"files": other(path="go.sh")}, (True, True)),
        ({"files": FILES[::-1]}, (False, False)),
        ({"spec": with_build(path="elsewhere")}, (False, False)),
        ({"spec": with_build(dockerfile_path="run.sh")}, (True, True)),
        ({"spec": with_build(dockerfile="FROM b\n")}, (True, True)),
        ({"spec": with_settings(build_arguments={"A": "2"})}, (True, True)),
        ({"spec": with_settings(build_secrets=())}, (True, True)),
        ({"spec": with_settings(build_timeout=5)}, (False, False)),
        ({"spec": dataclasses.replace(SPEC, name="x", tags={"a": "b"})}, (False, False)),
        ({"lock": dataclasses.replace(LOCK, image=dataclasses.replace(
            LOCK.image, bases={"linux-64": {"a": f"sha256:{'b' * 64}"}}))}, (True, False)),
        ({"lock": dataclasses.replace(LOCK, image=dataclasses.replace(
            LOCK.image, bases={"linux-aarch64": {"a": DIGEST}}))}, (True, False)),
    ],
)  # fmt: skip
def test_what_decides_a_build_moves_its_hashes(
    changed: dict[str, Any], moves: tuple[bool, bool]
) -> None:
    before, after = hashes(), hashes(**changed)
    assert (before[0] != after[0], before[1] != after[1]) == moves


def test_every_field_of_a_build_moves_the_definition_hash() -> None:
    made = definition_of(SPEC, LOCK, FILES).build
    assert made is not None
    changes: dict[str, Any] = {
        "files": (), "dockerfile_path": "x", "dockerfile_sha256": "x", "bases": {},
        "arguments": {}, "secrets": (),
    }  # fmt: skip
    assert set(changes) == {field.name for field in dataclasses.fields(BuildDefinition)}
    for name, value in changes.items():
        changed = dataclasses.replace(made, **{name: value})
        assert (
            Definition(kind="build", build=changed).hash
            != Definition(kind="build", build=made).hash
        )


def test_the_definition_hash_of_a_known_build_is_this() -> None:
    assert hashes() == (
        "a21a879a8ae6679a1d7bfdbdc7b978803d8736f03161cfdc6376edf5a2cd8b99",
        "c05eea0c984ab8cb082811d4fd37c2fbe41e4067e0cb196846aa5025f51934b0",
    )


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.permutations(FILES))
def test_the_order_of_files_is_nothing(files: list[ContextFile]) -> None:
    assert hashes(files=tuple(files)) == hashes()
