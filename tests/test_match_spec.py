"""Match specs: what passes here rattler reads too, and what does not is explained."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rattler import MatchSpec
from rattler.exceptions import InvalidMatchSpecError

from envsync.model.match_spec import match_spec_name, match_spec_problem, squeezed

GOOD = [
    "python", "python=3.10", "python==3.10", "python = 3.10", "python 3.10", "python  =  3.10.*",
    "numpy>=1,<2", "numpy >= 1.24, != 1.24.3", "numpy 1.*|2.*", "numpy (>=1,<2)|3", "a ~= 1.2",
    "foo=1.2=py_0", "foo==1.2=*_cpython", "foo 1.2 py37", "foo * *_cpython", "libblas=*=*openblas",
    "jaxlib>=0.4.31=cuda12*", "blas[build=mkl]", "pkg[version='>=1,<2', build=\"py*\"]",
    "conda-forge::numpy", "conda-forge/linux-64::numpy=1", "https://repo.example/ch::flask=1.0.2",
    "bioconda::foldmason=4.dd3c235-0", "foo=1!2.0+local", "foo=1.0_1", "_libgcc_mutex", "R_x.y-z",
    "__cuda>=11", "foo=2024-01-01",
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_what_conda_accepts_passes_and_rattler_reads_the_same_name(text: str) -> None:
    assert match_spec_problem(text) is None
    name = MatchSpec(text, strict=False).name
    assert name is not None
    assert name.normalized == match_spec_name(text)


@pytest.mark.parametrize("text", GOOD)
def test_squeezing_white_space_changes_no_meaning(text: str) -> None:
    assert str(MatchSpec(squeezed(text), strict=False)) == str(MatchSpec(text, strict=False))
    assert squeezed(squeezed(text)) == squeezed(text)


versions = st.from_regex(r"[0-9]{1,2}(\.[0-9a-z]{1,3}){0,2}(\.\*)?", fullmatch=True)
operators = st.sampled_from(["==", "=", ">=", "<=", ">", "<", "!=", "~=", ""])
spaces = st.sampled_from(["", " ", "  "])


@st.composite
def match_specs(draw: st.DrawFn) -> str:
    channel = draw(st.sampled_from(["", "conda-forge::", "https://host.example/a::"]))
    name = draw(st.from_regex(r"[a-z_][a-z0-9_-]{0,6}[a-z0-9]", fullmatch=True))
    parts = []
    for _ in range(draw(st.integers(0, 3))):
        parts.append(f"{draw(operators)}{draw(spaces)}{draw(versions)}")
    joined = draw(st.sampled_from([",", " , ", "|", ", "])).join(parts)
    build = draw(st.sampled_from(["", "", " py37_0", "=py_0", "=*_cpython"])) if parts else ""
    return f"{channel}{name}{draw(st.sampled_from([' ', '  ', '']))}{joined}{build}"


def rattler_says(text: str) -> str:
    """Return what rattler makes of a match spec, or its complaint."""
    try:
        return str(MatchSpec(text, strict=False))
    except InvalidMatchSpecError as error:
        return f"refused: {error}"


@settings(max_examples=500)
@given(match_specs())
def test_rattler_reads_whatever_passes(text: str) -> None:
    if match_spec_problem(text) is not None:
        return
    said = rattler_says(text)
    # Which versions an operator can have is the solver's to say, in its own words.
    assert not said.startswith("refused:") or "version" in said, text
    assert rattler_says(squeezed(text)).split(": ")[-1] == said.split(": ")[-1]


@settings(max_examples=500)
@given(st.text(st.sampled_from("ab1.=<>!~|,()[]:;@ -_*'\"{}$^/\\é\t\n"), max_size=24))
def test_any_text_passes_or_is_explained(text: str) -> None:
    problem = match_spec_problem(text)
    assert problem is None or problem.message
    match_spec_name(text)


BAD = [
    ("", "A dependency is empty", "Remove the line."),
    ("{{ x }}", "'{{ x }}' is a placeholder of a template", "Fill it in first."),
    ("numpy=>1", "'=>' in 'numpy=>1' is not an operator", "Write >="),
    ("numpy===1", "'===' in 'numpy===1' is not an operator", "Write =="),
    ("numpy=<1", "'=<' in 'numpy=<1' is not an operator", "Write <="),
    ("numpy>1 <2", "'numpy>1 <2' has two conditions with nothing between them",
     "Put a comma between them, as in numpy>=1,<2."),
    ("numpy=", "'numpy=' ends where a version should stand",
     "Write numpy alone for any version, or numpy=1.2."),
    ("numpy>=1,", "'numpy>=1,' ends where a version should stand",
     "Write numpy alone for any version, or numpy=1.2."),
    ("numpy (>=1", "'numpy (>=1' has a bracket that is not closed", ""),
    ("a b c d", "'c d' in 'a b c d' is not a build",
     "Write package=version or package=version=build."),
    ("python=3.10 =py", "'python=3.10 =py' has a space before the '=' of the build",
     "Write python=version=build without spaces."),
    ("sqlalchemy[asyncio]<2", "'sqlalchemy[asyncio]<2' asks for extras, which only pip knows",
     "Write sqlalchemy without them, or the line in the list of '- pip:'."),
    ("foo[version='1'", "\"foo[version='1'\" has a '[' that is not closed", "Close it."),
    ("foo[versoin=1]", "'versoin' is not a key of a match spec", "Did you mean 'version'?"),
    ("foo[version=1]=2", "'=2' stands after the ']'",
     "The version stands before the '[', or inside as version='…'."),
    ("foo[=1]", "'=1' is not key=value", "Write foo[version='>=1', build='py*']."),
    ("-r requirements.txt", "'-r requirements.txt' is an option of pip, not a package",
     "Write it in the list of '- pip:'."),
    ("git+https://github.com/a/b", "'git+https://github.com/a/b' is a requirement of pip",
     "Write it in the list of '- pip:'."),
    ("a @ https://x.example/a.whl", "'a @ https://x.example/a.whl' is a requirement of pip",
     "Write it in the list of '- pip:'."),
    ("a; python_version<'3'",
     "\"a; python_version<'3'\" has a ';' in it: conda has no environment markers",
     "Write it in the list of '- pip:'."),
    ("https://x.example/a-1-0.conda", "'https://x.example/a-1-0.conda' is the URL of a package",
     "Write package=version=build, and the channel in 'channels:'."),
    ("./wheels/a.whl", "'./wheels/a.whl' is a file, not a package",
     "Name packages of a channel; a wheel can stand in the list of '- pip:'."),
    ("bioconda:bcftools=1.20", ("'bioconda:bcftools=1.20' has one ':' after the channel; two are"
     " needed"), "Write bioconda::bcftools=1.20"),
    ("a::b::c", "'a::b::c' does not name one channel",
     "Write channel::package, such as conda-forge::numpy."),
    ("=1.2", "'=1.2' does not start with a package's name",
     "Write package=version, such as python=3.11."),
    ("nümpy", "'nümpy' is not a package's name", "Names have letters, digits, '-', '_' and '.'."),
    ("a\x1b[31m", "'a\\u001b[31m' has a character in it that cannot be printed", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message", "hint"), BAD, ids=[repr(case[0]) for case in BAD])
def test_what_is_not_a_match_spec_is_explained(text: str, message: str, hint: str) -> None:
    problem = match_spec_problem(text)
    assert problem is not None
    assert (problem.message.replace('"', "'"), problem.hint) == (message.replace('"', "'"), hint)
