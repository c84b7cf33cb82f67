"""The comment: what a reviewer reads, what it may never do, and how long it gets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from envsync.cli.output import coloured
from envsync.model.lock import LockedPackage, Manager
from envsync.model.package_changes import PackageChange, package_changes, with_requests
from envsync.model.record import Record
from envsync.planning.diff import blocked_plan, diff
from envsync.planning.markdown import LIMIT, units
from envsync.planning.plan import Base, Check, Effort, EnvironmentPlan, Plan, Reason
from envsync.planning.plan_markdown import MARKER, plan_markdown
from envsync.planning.plan_text import plan_text
from envsync.planning.states import Blocked, Observed
from tests.golden import Golden
from tests.parts.rendered import HIDDEN, github_html, rendered
from tests.reliability.counts import count
from tests.team import Team
from tests.test_diff import desired, record
from tests.test_plan_output import package

OURS = re.compile(r"</?details>|</?summary>|<!-- envsync plan [0-9a-f]{16} of [0-9a-f]{12} -->")

PAYLOADS = (
    "@everyone", "@team/owners", "#1", "owner/repo#12", "GH-7", "!3", "~label", "%milestone",
    "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff", "https://evil.example/", "www.evil.example",
    "[click](https://evil.example)", "![x](https://evil.example/x.png)", "<img src=x onerror=1>",
    "<script>alert(1)</script>", "<a href='https://evil.example'>x</a>", "<details open>",
    "</details>", "</summary>", "<!-- envsync plan 0 -->", "-->", "```", "````\nx\n````", "`",
    "``x", "a`b`c", "|", "a | b", "\\|", "\\`", "x\n\n# heading", "x\r\n- [ ] task", "\n/close\n",
    "/approve", "**bold**", "~~gone~~", "$$x$$", "&lt;b&gt;", "\u202eevil",
    "\u2066x\u2069", "\u200b", "\x1b[31mred", "\x00", "a" * 5000, "🦊" * 300, "[x]: https://evil.example",
    "<https://evil.example>",
)  # fmt: skip
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def tokens(text: str) -> Iterator[Token]:
    for token in PARSER.parse(text):
        yield token
        yield from token.children or ()


def hostile(payload: str) -> Plan:
    """A plan in which everything that comes from a branch is *payload*."""
    name, version = payload, payload
    before = {"linux-64": (package("numpy", "1.0"), package(name, version))}
    after = {
        "linux-64": (
            package("numpy", version, needs=(name,)),
            # Of a long name `package` would make one hash for both versions.
            replace(package(name, "2.0", channel="other"), sha256="f" * 64),
        )
    }
    changes = with_requests(
        package_changes(before, after, {"conda": frozenset({"numpy"}), "pip": frozenset()}),
        {"conda": {"numpy": payload}, "pip": {}},
        {"conda": {"numpy": f"{payload}2"}, "pip": {}},
    )
    changes = tuple(
        replace(
            change,
            details=tuple(
                replace(d, after=replace(d.after, channel=payload)) if d.after else d
                for d in change.details
            ),
        )
        for change in changes
    )
    plan = diff(desired(), Observed(name="train", records=(record(desired("old")),)))
    good = replace(
        plan,
        name=payload,
        before_version=payload,
        after_version=payload,
        changes=changes,
        platforms=(payload,),
        reasons=(*plan.reasons, Reason(code="x", text=payload)),
        notices=(Reason(code="policy", text=payload),),
        checks=(Check(name=payload, verdict="warn", text=payload),),
        effort=Effort(bytes_to_push=1, layers_to_push=1, layers=2),
        hint=payload,
    )
    bad = replace(
        blocked_plan(Blocked(name=payload, reason="lock_missing", detail=payload, hint=payload)),
        name=payload,
    )
    commit = "c0ffee" * 6 + "c0ff"
    return Plan(
        commit=commit,
        registry=payload,
        environments=(good, bad),
        removed=(payload,),
        uncommitted=(payload,),
        base=Base(ref=payload, commit=commit, fork=commit),
        policy_from=commit,
        policy_changed=True,
    )


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda text: repr(text[:24]))
def test_nothing_that_comes_from_a_branch_is_obeyed(payload: str) -> None:
    text = plan_markdown(hostile(payload))
    assert text.startswith(MARKER)
    assert units(text) <= LIMIT
    marked = [token for token in tokens(text) if token.type in {"html_inline", "html_block"}]
    for token in marked:
        assert OURS.sub("", token.content).strip() in {"", _summary(token.content)}, token.content
    kinds = {token.type for token in tokens(text)}
    assert not kinds & {"link_open", "image", "s_open"}
    for token in tokens(text):
        if token.type == "text":
            # Outside of code spans there are only words of ours.
            assert not re.search(r"@\w|#\d|https?:|www\.|GH-\d|[~%$]\w", token.content), token
            assert not re.search(r"[\u202a-\u202e\u2066-\u2069\u200b\x00-\x08\x1b]", token.content)
    fences = [token for token in tokens(text) if token.type == "fence"]
    assert all("\n/" not in f"\n{fence.content}" for fence in fences)
    assert not re.search(r"^/", text, re.MULTILINE), "a quick action begins a line"
    count("X12", payloads=1, renderings=1)


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda text: repr(text[:24]))
def test_what_github_renders_has_nothing_of_a_branch_but_code(payload: str) -> None:
    found = rendered(github_html(plan_markdown(hostile(payload))))
    assert found.faults() == []
    assert found.tags.count("table") == 2, "a table is no table any more"
    assert found.tags.count("details") == found.tags.count("summary") == 1
    count("X12", renderings=1)


@pytest.mark.parametrize(
    ("markdown", "fault"),
    [("<!-- envsync plan 0123456789abcdef of 0123456789ab -->\n\n" + text, fault)
     for text, fault in (
        ("[a](https://evil.example)", "<a>"), ("www.evil.example", "<a>"), ("![a](b)", "<img>"),
        ("<b>x</b>", "<b>"), ("<script>x</script>", "in words: '<script>x</script>'"),
        ("- [ ] a", "<input>"), ("~~a~~", "<del>"), ("@team", "in words: '@team'"),
        ("`a\u202eb`", r"hidden: '\u202e'"), ("<!-- envsync plan 0 -->", "2 marks"),
        ("<p onclick=x>a</p>", "attribute p onclick=x"),
     )],
)  # fmt: skip
def test_the_judge_sees_what_is_not_allowed(markdown: str, fault: str) -> None:
    if fault.startswith("in words: '<script>"):
        # The extension tagfilter has made text of it.
        assert "script" not in rendered(github_html(markdown)).tags
    else:
        assert fault in rendered(github_html(markdown)).faults()


@pytest.mark.parametrize("payload", [*PAYLOADS, "x\nPlan: no environment differs."],
                         ids=lambda text: repr(text[:24]))  # fmt: skip
def test_a_terminal_is_told_nothing_to_obey(payload: str) -> None:
    lines = coloured(plan_text(hostile(payload))).split("\n")
    ours = re.compile(r"\x1b\[(3[1-6]|0)m")  # the colour of a line's symbol
    assert not [line for line in lines if HIDDEN.search(ours.sub("", line))]
    begun = {re.split(r"[ :]", ours.sub("", line))[0] for line in lines}
    assert begun <= {"", "Plan", "To", "~", "!", "-"}, "a payload begins a line"
    assert [line for line in lines if line.startswith("Plan:")] == lines[-1:]
    count("X12", texts=1)


def test_a_terminal_is_told_nothing_to_obey_by_files(folder_team: Team) -> None:
    """The same with the command itself: payloads as values of specs, and as names of files."""
    names = [payload for payload in PAYLOADS if "\0" not in payload]
    for number, payload in enumerate(names):
        path = f"environments/env-{number:02d}/environment.yaml"
        value = json.dumps(payload)
        folder_team.repository.write({path: f"name: env-{number:02d}\nimage: {value}\n"})
    folder_team.repository.commit("payloads")
    for payload in names:
        name = payload.replace("/", "_")[:60]
        folder_team.repository.write({f"environments/env-00/{name}": "x"})
    done = folder_team.envsync("plan")
    assert done.code == 6
    assert done.out.count("cannot be built") == len(names)
    assert not HIDDEN.search(done.out + done.err)
    begun = {re.split(r"[ :]", line)[0] for line in done.out.split("\n")}
    assert begun <= {"", "Plan", "!"}, "a payload begins a line"
    count("X12", texts=len(names))


def _summary(content: str) -> str:
    """Return the words of a summary, which are a number and words of ours."""
    match = re.search(
        r"<summary>(\d+ packages? that these need \([a-z0-9,; ]+\))</summary>", content
    )
    return match[1] if match else ""


def test_a_text_is_not_put_into_another_text() -> None:
    (environment,) = of_twelve().environments
    crafted = replace(environment, after_version="a{before}b", before_version="` @everyone ")
    found = rendered(github_html(plan_markdown(replace(of_twelve(), environments=(crafted,)))))
    assert found.faults() == []
    assert "a{before}b" in found.text


def test_there_are_forty_payloads() -> None:
    assert len(set(PAYLOADS)) >= 40


def twelve() -> tuple[PackageChange, ...]:
    """A realistic change: one package asked anew, one new, and what they bring."""
    before = {
        "linux-64": (
            package("python", "3.11.9", build="h955ad1f_0"),
            package("numpy", "1.26.4", build="py311h64a7726_0", needs=("libblas", "python")),
            package("pandas", "2.1.4", needs=("numpy", "python-dateutil", "pytz")),
            package("libblas", "3.9.0", build="21_openblas", needs=("libopenblas",)),
            package("libopenblas", "0.3.26", needs=("libgfortran",)),
            package("libgfortran", "13.2.0"),
            package("openssl", "3.2.1", build="hd590300_0"),
            package("ca-certificates", "2024.2.2"),
            package("python-dateutil", "2.9.0"),
            package("pytz", "2024.1"),
            package("tzdata", "2024a", channel="conda-forge"),
            package("flask", "3.0.2", manager="pip"),
        )
    }
    after = {
        "linux-64": (
            package("python", "3.11.9", build="h955ad1f_1", needs=("openssl", "tzdata")),
            package("numpy", "2.0.1", build="py311hed25524_0", needs=("libblas", "python")),
            package("pandas", "2.2.2", needs=("numpy", "python-dateutil", "pytz", "tzdata")),
            package("pyarrow", "17.0.0", needs=("numpy", "libarrow")),
            package("libarrow", "17.0.0", needs=("openssl",)),
            package("libblas", "3.9.0", build="23_openblas", needs=("libopenblas",)),
            package("libopenblas", "0.3.27", needs=("libgfortran",)),
            package("libgfortran", "14.1.0"),
            package("openssl", "3.3.1", build="h4bc722e_2", needs=("ca-certificates",)),
            package("ca-certificates", "2024.7.4"),
            package("python-dateutil", "2.9.0"),
            package("pytz", "2024.1"),
            package("tzdata", "2024a", build="1", channel="somebody"),
            package("flask", "3.0.1", manager="pip"),
        )
    }
    direct: dict[Manager, frozenset[str]] = {
        "conda": frozenset({"python", "numpy", "pandas", "pyarrow"}),
        "pip": frozenset({"flask"}),
    }
    return with_requests(
        package_changes(before, after, direct),
        {"conda": {"python": "python=3.11", "numpy": "numpy=1.26", "pandas": "pandas>=2.1"},
         "pip": {"flask": "flask<4"}},
        {"conda": {"python": "python=3.11", "numpy": "numpy=2", "pandas": "pandas>=2.1",
                   "pyarrow": "pyarrow"},
         "pip": {"flask": "flask<=3.0.1"}},
    )  # fmt: skip


def of_twelve() -> Plan:
    old: Record = record(desired("old"))
    plan = diff(desired(), Observed(name="train", records=(old,)))
    changed = replace(
        plan,
        changes=twelve(),
        effort=Effort(bytes_to_push=61_400_000, layers_to_push=12, layers=41),
    )
    commit = "5eed" * 10
    return Plan(
        commit=commit,
        registry="ghcr.io/team/envs",
        environments=(changed,),
        base=Base(ref="origin/main", commit="ba5e" * 10, fork="ba5e" * 10),
    )


def test_a_change_of_twelve_packages_reads_well(golden: Golden) -> None:
    assert len(twelve()) == 12
    golden.check("plan/comment-of-twelve-packages", plan_markdown(of_twelve()))


def test_a_package_from_elsewhere_is_counted_where_the_table_is_folded() -> None:
    (summary,) = [line for line in plan_markdown(of_twelve()).splitlines() if "<summary>" in line]
    assert "; 1 of these from another channel or host" in summary


def test_each_move_between_channels_is_named() -> None:
    def locked(*channels: str) -> dict[str, tuple[LockedPackage, ...]]:
        return {
            "linux-64": tuple(
                package(f"lib{number}", "1.0", channel=channel)
                for number, channel in enumerate(channels)
            )
        }

    moved = package_changes(
        locked("conda-forge", "conda-forge", "bioconda"),
        locked("somebody", "somebody", "conda-forge/label/rc"),
        {"conda": frozenset(), "pip": frozenset()},
    )
    (environment,) = of_twelve().environments
    plan = replace(of_twelve(), environments=(replace(environment, changes=moved),))
    line = (
        "- ⚠️ **another channel or host**: `lib0`, `lib1` (`conda-forge` → `somebody`);"
        " `lib2` (`bioconda` → `conda-forge/label/rc`). Other people"
    )
    assert line in plan_markdown(plan)
    assert "~ lib2  1.0, new build  from conda-forge/label/rc, before from bioconda" in plan_text(
        plan
    )


def test_the_registry_is_named_and_how_much_of_an_image_it_has() -> None:
    (environment,) = of_twelve().environments
    assert environment.effort is not None
    everything = replace(environment, effort=replace(environment.effort, layers_to_push=41))
    text = plan_markdown(replace(of_twelve(), environments=(everything,)))
    assert "in the registry `ghcr.io/team/envs`" in text
    assert "(all 41 layers)" in text


def test_what_is_too_long_says_what_it_left_out() -> None:
    one = of_twelve()
    (environment,) = one.environments

    def named(number: int) -> EnvironmentPlan:
        return replace(environment, name=f"environment-{number:04d}")

    for number_of, words in ((40, "the packages that others need"), (400, "all but a line of"),
                         (3000, "environments altogether")):  # fmt: skip
        plan = replace(one, environments=tuple(map(named, range(number_of))))
        text = plan_markdown(plan)
        assert units(text) <= LIMIT
        assert words in text, number_of
        assert text.count("<details>") == text.count("</details>")
        assert "**Next:**" in text
