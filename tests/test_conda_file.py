"""Conda files: every real one loads or is refused with a reason; pip sections are expanded."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envsync.adapters.files.strict_yaml import parse_document
from envsync.errors import InvalidInput
from envsync.model.canonical import sha256_hex
from envsync.model.match_spec import Problem
from envsync.model.places import (
    carries_credentials,
    placeholder,
    redacted,
    without_secrets,
    without_userinfo,
)
from envsync.model.requirement_line import (
    RequirementLine,
    read_requirement_line,
    requirement_lines,
)
from envsync.model.spec import CondaFile
from envsync.operations.load import load_environment
from tests.golden_cases import golden_cases
from tests.memory_tree import MemoryTree
from tests.real_conda_files import TABLE, conda_files, refusals
from tests.reliability.counts import count

FOLDER = "environments/train"
WHEEL = b"PK\x03\x04 a wheel"
FILES: dict[str, bytes | str] = {
    "circle.txt": "a\n-r circle.txt\n",
    "faults.txt": "# comment\nnumpy=1.2\n\na==1 \\\n  ; nonsense\n--what x\n",
    "binary.txt": b"\xff\xfe",
    "options.txt": "numpy<2\n--pre\n",
    "wheels/text-1-py3-none-any.whl": "text",
    "wheels/pointer-1-py3-none-any.whl": "version https://git-lfs.github.com/spec/v1\n",
}


def load(text: str | bytes, files: dict[str, bytes | str] | None = None) -> CondaFile:
    inside = {f"{FOLDER}/{path}": content for path, content in (files or {}).items()}
    tree = MemoryTree(
        {
            f"{FOLDER}/environment.yaml": "image: scratch\nconda_file: conda.yaml\n",
            f"{FOLDER}/conda.yaml": text,
            **inside,
        }
    )
    conda = load_environment(tree, parse_document, "train").conda
    assert conda is not None
    return conda


MALFORMED = golden_cases("malformed_conda_files.txt")


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_conda_file_is_refused_with_place_and_advice(case: str) -> None:
    text, expected = MALFORMED[case]
    with pytest.raises(InvalidInput) as refused:
        load(text, FILES)
    assert str(refused.value) == f"The environment 'train' cannot be used\n{expected}"


def test_a_full_conda_file_is_read_in_the_order_it_was_written() -> None:
    assert load(
        "name: anything\n"
        "channels: [bioconda, nodefaults, conda-forge]\n"
        "dependencies:\n"
        "  - python = 3.10  # a comment\n"
        "  - conda-forge::numpy>=1,<2\n"
        "  - pip:\n"
        "      - Zebra==1.0\n"
        "      - apple\n"
        "  - blas[build=mkl]\n"
        "variables: {B: 3.10, A: yes, C: }\n"
        "prefix: /home/me/miniconda3/envs/x\n"
    ) == CondaFile(
        channels=("bioconda", "conda-forge"),
        nodefaults=True,
        dependencies=("python = 3.10", "conda-forge::numpy>=1,<2", "blas[build=mkl]"),
        pip=("Zebra==1.0", "apple"),
        variables={"B": "3.10", "A": "yes", "C": ""},
        path=f"{FOLDER}/conda.yaml",
    )


def pip(*lines: str) -> str:
    return "dependencies:\n  - pip:\n" + "".join(f"      - '{line}'\n" for line in lines)


def test_requirements_files_stand_where_they_are_included() -> None:
    conda = load(
        pip("first", "-r reqs/base.txt", "last"),
        {
            "reqs/base.txt": "# a comment\nb1==1  # why\n-r more.txt\nb2 \\\n  >=2\n\n",
            "reqs/more.txt": "\ufeffm1; python_version < '4'\n",
        },
    )
    assert conda.pip == ("first", "b1==1", "m1; python_version < '4'", "b2 >=2", "last")
    assert conda.pip_constraints == ()


def test_the_same_file_may_be_included_twice() -> None:
    assert load(pip("-r a.txt", "-ra.txt"), {"a.txt": "x\n"}).pip == ("x", "x")


def test_constraints_are_kept_apart_from_what_is_asked_for() -> None:
    conda = load(
        pip("numpy", "-c limits.txt", "-r reqs.txt"),
        {
            "limits.txt": "numpy<2\n-r more.txt\n",
            "more.txt": "scipy<2\n",
            "reqs.txt": "-c late.txt\nscipy\n",
            "late.txt": "pandas<3\n",
        },
    )
    assert conda.pip == ("numpy", "scipy")
    assert conda.pip_constraints == ("numpy<2", "scipy<2", "pandas<3")


def test_includes_that_multiply_are_refused() -> None:
    files: dict[str, bytes | str] = {
        f"{i}.txt": f"-r {i + 1}.txt\n-r {i + 1}.txt\n" for i in range(40)
    }
    files["40.txt"] = "x\n"
    with pytest.raises(InvalidInput, match="More than 100 requirements files are included"):
        load(pip("-r 0.txt"), files)


def test_too_many_requirements_are_refused() -> None:
    with pytest.raises(InvalidInput, match="There are more than 5,000 requirements"):
        load(pip("-r a.txt"), {"a.txt": "x\n" * 5001})


def test_a_wheel_of_the_repository_is_kept_with_the_hash_of_its_content() -> None:
    conda = load(
        pip("./wheels/a-1-py3-none-any.whl", "-r reqs/more.txt"),
        {
            "wheels/a-1-py3-none-any.whl": WHEEL,
            "reqs/more.txt": "wheels/a-1-py3-none-any.whl\n",
        },
    )
    assert conda.pip == ("./wheels/a-1-py3-none-any.whl", "wheels/a-1-py3-none-any.whl")
    assert conda.wheels == dict.fromkeys(conda.pip, sha256_hex(WHEEL))


KEPT = [
    "numpy", "numpy==1.26.4", "numpy >= 1.24, < 2", "Zope.Interface[test]~=5.0", "h5py < 3.15",
    "a==1.0.*", "a===1.0-odd", "flit-core === 3.9.0 --hash=sha256:1234",
    "a @ https://files.example/a-1-py3-none-any.whl#sha256=00", "https://files.example/a-1.whl",
    'yaml2bib; sys_platform == "linux"', "--index-url https://pip.example/simple", "--pre",
    "--extra-index-url=https://pip.example/simple", "--find-links https://files.example/",
    "-i https://pip.example/simple", "--pre --index-url https://a.example --no-index",
    "-e .", "-e .[all]", "-e git+https://github.com/a/b.git@master#egg=b", "./package",
    "git+https://github.com/a/b", "git+ssh://git@github.com/a/b", "./a-1.tar.gz",
    "b @ git+https://github.com/a/b@v1", "https://files.example/a-1.tar.gz", "a.tar.gz",
]  # fmt: skip


@pytest.mark.parametrize("line", KEPT)
def test_other_lines_of_pip_are_kept_as_text(line: str) -> None:
    assert load(pip(line)).pip == (line,)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("# only\n   # comments\n", []),
        ("a#b\n", [(1, "a#b")]),
        ("a #b\n", [(1, "a")]),
        ("a \\\n b \\\n c\nd", [(1, "a b c"), (4, "d")]),
        ("# x \\\ny\n", [(2, "y")]),
        ("a \\", [(1, "a")]),
        ("a\r\nb\r\n", [(1, "a"), (2, "b")]),
    ],
)
def test_requirements_files_have_comments_and_continued_lines(
    text: str, lines: list[tuple[int, str]]
) -> None:
    assert list(requirement_lines(text)) == lines


@settings(max_examples=400)
@given(st.text(st.sampled_from("ab1.=<>!~,()[]:;@ -_*'\"{}$/\\#é\trceif"), max_size=30))
def test_any_line_is_read_or_explained(text: str) -> None:
    line = read_requirement_line(text)
    if isinstance(line, Problem):
        assert line.message
    else:
        assert line.text == text.strip()


@settings(max_examples=200)
@given(st.text(max_size=120), st.text(max_size=120))
def test_any_text_gives_a_conda_file_or_invalid_input(text: str, requirements: str) -> None:
    data: dict[str, bytes | str] = {"r.txt": requirements.encode("utf-8", "surrogatepass")}
    for document in (text.encode("utf-8", "surrogatepass"), pip("-r r.txt")):
        try:
            load(document, data)
        except InvalidInput as refused:
            assert refused.faults  # noqa: PT017


def test_every_real_conda_file_loads_or_is_refused_for_the_stated_reasons(
    shared_data: Path,
) -> None:
    assert refusals(shared_data) == TABLE.read_text()


def test_most_real_conda_files_load_with_all_of_their_packages(shared_data: Path) -> None:
    loaded = [conda for _, conda, faults in conda_files(shared_data) if conda and not faults]
    assert len(loaded) >= 420
    assert all(conda.dependencies for conda in loaded)


N = 200_000
ENDLESS = {
    "spaces before": " " * N + "x y", "spaces within": "x" + " " * N + "x",
    "spaces before a comment": "x" + " " * N + "#", "continued": "x\\\n" * (N // 4),
    "a word": "a" * N, "a word and a slash": "a" * N + " / ", "points": "a." * (N // 2) + "@",
    "equal signs": "a =" * (N // 3), "slashes": "//" * (N // 2), "tokens": "//x/t/" * (N // 6),
    "placeholders": "{{" * (N // 2), "variables": "${" * (N // 2), "brackets": "a; " + "(" * N,
    "extras": "a[" * (N // 2), "logins": "https://a:x/" * (N // 11),
    "logins and an at": "@" + "//a:x" * (N // 5) + "(@",
    "questions": "://?" * (N // 4), "hashes": "a" + " --hash=sha256:0" * (N // 16) + " -",
    "short brackets": "a; " + "(" * 4000, "short markers": "a; " + "x == 'y' and " * 300,
}  # fmt: skip


@pytest.mark.parametrize("name", ENDLESS)
def test_a_line_of_pip_cannot_keep_a_plan_busy(name: str) -> None:
    text = ENDLESS[name]
    assert not isinstance(read_requirement_line(text), RequirementLine)
    lines = [line for _, line in requirement_lines(text)]
    assert len(lines) <= 1
    placeholder(text)
    for told in (carries_credentials, redacted, without_secrets, without_userinfo):
        told(text)
    count("X1", bombs=1, refused=1)
