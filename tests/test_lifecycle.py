"""Lifecycle: what may change of an environment, what is refused, archiving, and what latest is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.files.yaml_edit import edit_document
from envsync.errors import InvalidInput
from envsync.model.config import Config
from envsync.model.document import Faults, Mapping, Node, Scalar
from envsync.model.edit import Edit
from envsync.model.lifecycle import Lifecycle, VersionLife, read_lifecycle
from envsync.model.record import Record
from envsync.model.request import request_hash
from envsync.operations.lifecycles import load_lifecycles
from envsync.operations.load import load_environment
from envsync.planning.states import current, latest
from tests.memory_tree import MemoryTree
from tests.team import Team


def said(data: bytes) -> Any:
    """Return a document as what it says."""
    faults = Faults()
    root = parse_document(data, "spec", faults)
    assert root is not None
    assert list(faults) == []

    def plain(node: Node) -> Any:
        if isinstance(node, Scalar):
            return None if node.is_null else node.text
        if isinstance(node, Mapping):
            return {key.text: plain(value) for key, value in node.entries}
        return [plain(item) for item in node.items]

    return plain(root)


# ---- editing: what is not changed stays, byte for byte ----

KEYS = {
    "name": "name: train",
    "version": "version: '3'",
    "image": 'image: "debian:12-slim"',
    "conda_file": "conda_file:\n  channels: [ conda-forge ,bioconda]\n  dependencies:\n"
    "      - python=3.11   # pinned\n      -   numpy\n",
    "os_type": "os_type:   linux",
}
DESCRIPTIONS = (
    None,
    "description: words",
    "description:   'it''s old'   # said by Ada",
    'description: "a: b"',
    "description: >-\n  two\n  lines\n",
    "description: |\n    kept\n\n    text\n\n",
    "description:   # later",
    "description: plain\n  over lines",
)
TAGS = (
    None,
    "tags:\n  stage: dev # why\n  owner: ada",
    "tags: {stage: dev, 'owner': \"ada\"}  # short",
    "tags: { stage: dev, owner: ada, }",
    "tags: {}",
    "tags:   # none yet",
    "tags:\n    # first\n    'stage' : >\n      dev\n\n    # second\n    owner: ada\n    # end",
)
comments = st.sampled_from(["", "# a comment", "", "\n", "# two\n# lines", "   # indented"])
words = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff"),
    max_size=12,
) | st.sampled_from(["yes", "1.10", "a: b", "x # y", "- a", "{a}", "it's", '"', "a\nb\n", "\n", ""])


@st.composite
def specs(draw: st.DrawFn) -> tuple[list[str], str]:
    """Return the pieces of a spec, description and tags among them, and its line end."""
    keys = draw(st.permutations(list(KEYS)))
    pieces = [KEYS[key] for key in keys[: draw(st.integers(1, len(keys)))]]
    for choice in (DESCRIPTIONS, TAGS):
        piece = draw(st.sampled_from(choice))
        if piece is not None:
            pieces.insert(draw(st.integers(0, len(pieces))), piece)
    lines = [draw(comments)]
    for piece in pieces:
        comment = draw(comments)
        # After a text of several lines, what is indented belongs to the text.
        lines += [piece, comment if "  " not in piece else comment.lstrip()]
    return [line for line in lines if line], draw(st.sampled_from(["\n", "\r\n"]))


def document(pieces: Sequence[str], newline: str) -> bytes:
    text = "\n".join(piece.removesuffix("\n") if i == len(pieces) else piece
                     for i, piece in enumerate(pieces, start=1))  # fmt: skip
    return text.replace("\n", newline).encode()


def apart(pieces: Sequence[str]) -> list[str]:
    """Return the pieces that a change of description and tags must not touch."""
    return [piece for piece in pieces if not piece.startswith(("description", "tags"))]


edits = st.one_of(
    st.builds(lambda v: Edit(path=("description",), value=v), words),
    st.builds(
        lambda k, v: Edit(path=("tags", k), value=v),
        st.sampled_from(["stage", "owner", "new", "on", "1", "a.b", "ä: #"]),
        words,
    ),
)


@given(specs(), edits)
def test_an_edit_changes_what_it_says_and_keeps_every_other_line_byte_for_byte(
    spec: tuple[list[str], str], edit: Edit
) -> None:
    pieces, newline = spec
    before = document(pieces, newline)
    after = edit_document(before, "spec", [edit])
    wanted = said(before)
    if len(edit.path) == 1:
        wanted["description"] = edit.value
    else:
        wanted["tags"] = {**(wanted.get("tags") or {}), edit.path[1]: edit.value}
    assert said(after) == wanted
    at = 0
    for piece in apart(pieces):
        kept = piece.strip("\n").replace("\n", newline).encode()
        found = after.find(kept, at)
        assert found >= 0, (piece, after)
        at = found + len(kept)


def replaced_lines(before: bytes, after: bytes) -> bytes:
    """Return the lines of *before* that *after* does not have at its start and its end."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    while old and new and old[0] == new[0]:
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return b"".join(old)


@given(specs(), edits)
def test_an_edit_replaces_no_line_but_its_own(spec: tuple[list[str], str], edit: Edit) -> None:
    pieces, newline = spec
    before = document(pieces, newline)
    gone = replaced_lines(before, edit_document(before, "spec", [edit]))
    own = [piece for piece in pieces if piece.startswith(edit.path[0])]
    if gone and not before.endswith(gone):
        (piece,) = own
        assert gone.strip() in piece.replace("\n", newline).encode()
    elif gone:  # the last line of the file, which may have had no end
        last = (own or pieces[-1:])[0].replace("\n", newline).encode()
        assert gone.strip() in last + b"".join(c.encode() for c in pieces[-1:])


@given(specs(), edits)
def test_the_same_edit_again_changes_nothing(spec: tuple[list[str], str], edit: Edit) -> None:
    once = edit_document(document(*spec), "spec", [edit])
    assert said(edit_document(once, "spec", [edit])) == said(once)


@given(specs(), st.sampled_from(["stage", "owner"]))
def test_what_was_added_and_removed_again_leaves_what_was_there(
    spec: tuple[list[str], str], key: str
) -> None:
    before = document(*spec)
    edit = Edit(path=("tags", "fresh"), value="x")
    added = edit_document(before, "spec", [edit])
    try:
        removed = edit_document(added, "spec", [Edit(path=edit.path, value=None)])
    except InvalidInput:
        # What stood between a text of several lines and an indented comment cannot go.
        assert "   # indented" in spec[0]
        return
    was = said(before)
    assert said(removed) == {k: v for k, v in was.items() if k != "tags" or v}
    if was.get("tags"):
        assert removed in {before, before + spec[1].encode()}
    if key in (was.get("tags") or {}):
        gone = said(edit_document(before, "spec", [Edit(path=("tags", key), value=None)]))
        assert key not in (gone.get("tags") or {})


def test_comments_quotes_and_order_of_a_real_spec_stay() -> None:
    before = (
        b"\xef\xbb\xbf# Trainer of the vision team\nname: train\n\n"
        b"image: 'debian:12-slim'   # approved\ntags:\n  stage: 'dev'  # change me\n"
        b"conda_file: conda.yaml\n"
    )
    changes = [Edit(path=("tags", "stage"), value="prod"), Edit(path=("description",), value="New")]
    assert edit_document(before, "spec", changes) == (
        b"\xef\xbb\xbf# Trainer of the vision team\nname: train\ndescription: New\n\n"
        b"image: 'debian:12-slim'   # approved\ntags:\n  stage: 'prod'  # change me\n"
        b"conda_file: conda.yaml\n"
    )


def test_a_spec_in_json_stays_json() -> None:
    before = b'{"name": "x", "image": "y", "tags": {"a": "b"}}\n'
    changes = [Edit(path=("description",), value='say "hi"'), Edit(path=("tags", "c"), value="1")]
    assert json.loads(edit_document(before, "spec", changes)) == {
        "name": "x",
        "image": "y",
        "tags": {"a": "b", "c": "1"},
        "description": 'say "hi"',
    }


def test_what_cannot_be_edited_line_by_line_is_refused_and_not_guessed() -> None:
    with pytest.raises(InvalidInput, match="cannot be edited"):
        edit_document(b"? description\n: x\nname: y\n", "spec", [
            Edit(path=("description",), value=None)
        ])  # fmt: skip


# ---- lifecycle files ----


def life_of(text: str) -> Lifecycle:
    faults = Faults()
    root = parse_document(text.encode(), "lifecycle/train.yaml", faults)
    assert root is not None
    found = read_lifecycle(root, faults)
    faults.check("broken")
    return found


def test_a_lifecycle_file_says_what_is_archived_and_words_of_versions() -> None:
    text = (
        "archived: true\nversions:\n  1.10: {archived: true, tags: {a: }}\n  2:\n    description: x"
    )
    assert life_of(text) == Lifecycle(
        archived=True,
        versions={
            "1.10": VersionLife(archived=True, tags={"a": ""}),
            "2": VersionLife(description="x"),
        },
    )
    assert life_of("# nothing said\n") == Lifecycle()


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("archived: maybe", "1:11", "'archived' must be true or false"),
        ("archive: true", "1:1", "Did you mean 'archived'?"),
        ("archived_versions: ['1']", "1:1", "Write 'versions:'"),
        ("description: x", "1:1", "stands in its spec"),
        ("versions: ['1']", "1:11", "must be a map"),
        ("versions: {latest: {archived: true}}", "1:12", "'latest' is not a version"),
        ("versions:\n  '1':\n", "2:3", "Nothing is said"),
        ("versions: {'1': {image: x}}", "1:18", "'image' is not a key of a version"),
        ("versions: {'1': {tags: [a]}}", "1:24", "must be a map"),
        ("versions: {'1': {description: {a: b}}}", "1:31", "it must be text"),
        ("- archived", "1:1", "must be a map"),
    ],
)
def test_a_lifecycle_file_is_read_strictly(text: str, place: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        life_of(text)
    assert f"lifecycle/train.yaml:{place}:" in str(caught.value)
    assert message in str(caught.value)


def test_a_broken_lifecycle_file_matters_to_its_own_environment_only() -> None:
    tree = MemoryTree(
        {
            "lifecycle/good.yaml": "archived: true",
            "lifecycle/bad.yaml": "archived: 7",
            "lifecycle/short.yml": "archived: true",
            "lifecycle/README.md": "words",
        }
    )
    found = load_lifecycles(tree, parse_document)
    assert found.of("good").archived
    assert not found.of("nobody").archived
    for name in ("bad", "short"):
        with pytest.raises(InvalidInput, match=name):
            found.of(name)
    assert set(found.known) | set(found.broken) == {"good", "bad", "short"}


# ---- what latest is ----


def version(number: str, created: int) -> Record:
    return Record(
        name="train", version=number, definition="d" * 64, request="e" * 64, digest="sha256:0",
        platforms=(), lock_sha256="", base_digest="", format=1, commit="c" * 40, created=created,
    )  # fmt: skip


@given(
    st.lists(st.integers(0, 5), max_size=5),
    st.sets(st.sampled_from("12345")),
    st.booleans(),
)
def test_latest_is_the_most_recently_created_version_that_is_not_archived(
    dates: list[int], archived: set[str], name: bool
) -> None:
    records = tuple(version(str(i), date) for i, date in enumerate(dates, start=1))
    life = Lifecycle(
        archived=name, versions={number: VersionLife(archived=True) for number in archived}
    )
    found = current(records, life)
    left = tuple(r for r in records if r.version not in archived)
    assert found == (None if name else latest(left))


# ---- updating ----


@pytest.fixture
def team(folder_team: Team) -> Team:
    """One environment `train` with versions 1 and 2, and nothing that was not committed."""
    folder_team.ask("train", "tiny-00001", text="description: One\ntags:\n  stage: dev  # why\n")
    assert folder_team.envsync("apply").code == 0
    folder_team.ask("train", "tiny-00002", text="description: Two\ntags:\n  stage: dev  # why\n")
    assert folder_team.envsync("apply").code == 0
    return folder_team


def spec_text(team: Team) -> str:
    return (team.root / "environments/train/environment.yaml").read_text()


def test_updating_a_name_edits_its_spec_and_moves_no_hash(team: Team) -> None:
    before = spec_text(team)
    tree = MemoryTree({"environments/train/environment.yaml": before})
    done = team.envsync(
        "update", "train", "--set", "description=Trains; all=of it", "--set", "tags.stage=prod",
        "--add", "tags.owner=ada", "--format", "json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.json == {
        "format_version": "1.0",
        "name": "train",
        "version": None,
        "path": "environments/train/environment.yaml",
        "changed": True,
        "description": "Trains; all=of it",
        "tags": {"stage": "prod", "owner": "ada"},
    }
    after = spec_text(team)
    assert after == before.replace("description: Two", 'description: "Trains; all=of it"').replace(
        "  stage: dev  # why\n", "  stage: prod  # why\n  owner: ada\n"
    )
    old = load_environment(tree, parse_document, "train")
    tree = MemoryTree({"environments/train/environment.yaml": after})
    new = load_environment(tree, parse_document, "train")
    assert request_hash(old, Config()) == request_hash(new, Config())
    assert team.envsync("lock", "--check").code == 0
    team.repository.commit("words")
    assert team.envsync("plan", "--detailed-exitcode").code == 0
    shown = team.envsync("show", "train", "--format", "json").json
    assert (shown["description"], shown["tags"]["stage"]) == ("Trains; all=of it", "prod")
    old_version = team.envsync("show", "train:1", "--format", "json").json
    assert old_version["description"] == "One"
    listed = team.envsync("list", "--format", "json").json["environments"]
    assert [row["description"] for row in listed] == ["Trains; all=of it"]


def test_updating_a_version_writes_beside_the_spec(team: Team) -> None:
    before = spec_text(team)
    done = team.envsync("update", "train:1", "--set", "description=Old", "--set", "tags.x=1")
    assert done.code == 0, done.err
    assert "train:1, in lifecycle/train.yaml" in done.out
    assert spec_text(team) == before
    first = team.envsync("show", "train:1", "--format", "json").json
    assert (first["description"], first["tags"]) == ("Old", {"stage": "dev", "x": "1"})
    assert team.envsync("update", "train:1", "--remove", "tags").code == 0
    assert team.envsync("show", "train:1", "--format", "json").json["tags"] == {}
    assert team.envsync("update", "azureml:train:1", "--add", "tags.y=2").code == 0
    assert team.envsync("show", "train:1", "--format", "json").json["tags"] == {"y": "2"}
    second = team.envsync("show", "train:2", "--format", "json").json
    assert (second["description"], second["tags"]) == ("Two", {"stage": "dev"})
    team.repository.commit("words of an old version")
    assert team.envsync("plan", "--detailed-exitcode").code == 0


def test_an_update_that_is_so_already_writes_nothing(team: Team) -> None:
    before = team.state()
    for arguments in (
        ["train", "--set", "description=Two"],
        ["train", "--add", "tags.stage=dev"],
        ["train:1", "--set", "description=One"],
    ):
        done = team.envsync("update", *arguments)
        assert (done.code, "nothing was changed" in done.out) == (0, True), done.err
    assert team.state() == before


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--set", "image=debian:13"], 6, "what the image is"),
        (["--set", "conda_file=x.yaml"], 6, "what the image is"),
        (["--set", "conda_file.dependencies=x"], 6, "'conda_file' of train cannot be updated"),
        (["--set", "build.path=x"], 6, "what the image is"),
        (["--set", "os_type=windows"], 6, "versions never change"),
        (["--set", "envsync.user=app"], 6, "envsync lock train"),
        (["--set", "inference_config.x=1"], 6, "written once"),
        (["--set", "name=other"], 6, "envsync new OTHER"),
        (["--set", "version=7"], 6, "change 'version:' in environments/train/environment.yaml"),
        (["--set", "properties.a=b"], 6, "it has no effect"),
        (["--remove", "image"], 6, "cannot be updated"),
        (["--set", "descripton=x"], 6, "Did you mean --set description=…?"),
        (["--set", "tag.stage=x"], 6, "Did you mean --set tags.KEY=…?"),
        (["--set", "colour=red"], 6, "has no 'colour'"),
        (["--set", "tags=a"], 64, "one by one"),
        (["--set", "tags.=a"], 64, "one by one"),
        (["--set", "description"], 64, "has no value"),
        (["--add", "description=x"], 64, "cannot be added to"),
        (["--add", "tags.stage=prod"], 6, "--set tags.stage="),
        (["--remove", "tags.stag"], 6, "Did you mean tags.stage?"),
        (["--set", "tags.a=1", "--remove", "tags.a"], 64, "changed twice"),
        ([], 64, "nothing to change"),
        (["--set", "tags.a=\udcff"], 6, "is not text"),
    ],
)
@pytest.mark.parametrize("target", ["train", "train:1"])
def test_what_is_immutable_is_refused_with_the_reason_and_what_to_do_instead(
    quiet: Team, target: str, arguments: list[str], code: int, words: str
) -> None:
    before = quiet.state()
    done = quiet.envsync("update", target, *arguments)
    assert (done.code, words in done.err) == (code, True), done.err
    assert quiet.state() == before


@pytest.fixture(scope="module")
def quiet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a place for a repository that tests read only."""
    return tmp_path_factory.mktemp("quiet")


@pytest.fixture
def quiet(quiet_folder: Path, git_variables: dict[str, str], tiny_packages: Path) -> Team:
    """The same as `team`, made once for tests that change nothing."""
    from tests.parts.gitremote import GitRepository, new_repository

    path = quiet_folder / "repository"
    made = path.exists()
    repository = (
        GitRepository(path=path, environment=git_variables)
        if made
        else new_repository(path, git_variables)
    )
    team = Team(repository=repository, channel=tiny_packages, cache=quiet_folder / "cache")
    if not made:
        team.settings("registries: {azureml: 'localhost:9/curated'}\n")
        for number, word in ((1, "One"), (2, "Two")):
            text = f"description: {word}\ntags:\n  stage: dev\n"
            team.ask("train", f"tiny-0000{number}", text=text)
            assert team.envsync("apply").code == 0
    return team


# ---- archiving ----


def listed(team: Team, *arguments: str) -> list[str]:
    document = team.envsync("list", *arguments, "--format", "json").json
    if "versions" in document:
        return [row["version"] for row in document["versions"]]
    return [row["name"] for row in document["environments"]]


def test_archiving_hides_and_restoring_shows_again(team: Team) -> None:
    done = team.envsync("archive", "train", "--format", "json")
    assert done.json == {
        "format_version": "1.0",
        "name": "train",
        "version": None,
        "path": "lifecycle/train.yaml",
        "archived": True,
        "changed": True,
        "latest": None,
        "remarks": [],
    }
    assert listed(team) == []
    assert listed(team, "--include-archived") == ["train"]
    assert listed(team, "--archived-only") == ["train"]
    assert listed(team, "--name", "train") == []
    assert listed(team, "--name", "train", "--include-archived") == ["2", "1"]
    assert team.envsync("show", "train:1").code == 0, "what is archived can be used"
    refused = team.envsync("show", "train@latest")
    assert (refused.code, "envsync restore train" in refused.err) == (6, True)
    assert team.envsync("restore", "train").code == 0
    assert listed(team) == ["train"]
    assert listed(team, "--archived-only") == []
    assert listed(team, "--name", "train") == ["2", "1"]


@pytest.mark.parametrize(
    ("steps", "archived", "newest"),
    [
        ([], [], "2"),
        (["archive train:1"], ["1"], "2"),
        (["archive train:2"], ["2"], "1"),
        (["archive train@latest"], ["2"], "1"),
        (["archive train:1", "archive train:2"], ["2", "1"], None),
        (["archive train"], ["2", "1"], None),
        (["archive train", "restore train"], [], "2"),
        (["archive train:2", "archive train", "restore train"], ["2"], "1"),
        (["archive train", "archive train:2", "restore train"], ["2"], "1"),
        (["archive train:2", "restore train:2"], [], "2"),
        (["archive train:2", "archive train:2", "restore train:2"], [], "2"),
        (["archive train:1", "restore train"], ["1"], "2"),
    ],
)
def test_what_is_archived_by_name_and_by_version(
    team: Team, steps: list[str], archived: list[str], newest: str | None
) -> None:
    for step in steps:
        done = team.envsync(*step.split())
        assert done.code == 0, done.err
    assert listed(team, "--name", "train", "--archived-only") == archived
    shown = team.envsync("show", "train@latest", "--format", "json")
    assert (shown.json["version"]["version"] if shown.code == 0 else None) == newest


@pytest.mark.parametrize(
    ("steps", "code", "words"),
    [
        (["archive train", "restore train:1"], 6, "envsync restore train\n"),
        (["archive train", "restore train@latest"], 6, "is never archived"),
        (["archive train:9"], 6, "has no version 9"),
        (["restore train:9"], 6, "has no version 9"),
        (["archive trian"], 6, "Did you mean: train?"),
        (["archive train@stable"], 6, "the only label is latest"),
        (["archive train", "archive train@latest"], 6, "all are archived"),
    ],
)
def test_what_cannot_be_archived_or_restored_says_why(
    team: Team, steps: list[str], code: int, words: str
) -> None:
    for step in steps[:-1]:
        assert team.envsync(*step.split()).code == 0
    before = team.state()
    done = team.envsync(*steps[-1].split())
    assert (done.code, words in done.err + "\n") == (code, True), done.err
    assert team.state() == before


def test_archiving_again_changes_nothing_and_keeps_the_comments_of_the_file(team: Team) -> None:
    path = team.root / "lifecycle/train.yaml"
    path.parent.mkdir()
    path.write_text("# why: CVE in openssl\nversions:\n  1: # broken\n    archived: true\n")
    before = path.read_bytes()
    done = team.envsync("archive", "train:1")
    assert (done.code, "already" in done.out) == (0, True)
    assert path.read_bytes() == before
    assert team.envsync("archive", "train:2").code == 0
    assert path.read_bytes() == before + b'  "2":\n    archived: true\n'


def test_history_shows_what_is_archived(team: Team) -> None:
    assert team.envsync("archive", "train:1").code == 0
    versions = team.envsync("history", "train", "--format", "json").json["versions"]
    assert [(v["version"], v["archived"]) for v in versions] == [("2", False), ("1", True)]
    assert "(archived)" in team.envsync("history", "train").out


def test_an_environment_without_a_spec_can_be_archived(team: Team) -> None:
    team.repository.git("rm", "-rq", "environments/train", "locks/train")
    team.repository.commit("train is not needed any more")
    assert listed(team) == ["train"]
    assert team.envsync("archive", "train").code == 0
    assert listed(team) == []
    assert team.envsync("validate").code == 0


def test_flags_move_no_hash_and_make_no_version(team: Team) -> None:
    records = team.records("train")
    for step in ("archive train:1", "archive train", "restore train"):
        assert team.envsync(*step.split()).code == 0
        team.repository.commit(step)
        assert team.envsync("lock", "--check").code == 0
        assert team.envsync("apply").code == 0
    assert team.records("train") == records


def test_list_says_how_much_it_leaves_out(team: Team) -> None:
    assert team.envsync("archive", "train:1").code == 0
    done = team.envsync("list", "--name", "train")
    assert "1 archived version left out (--include-archived)" in done.err
    assert team.envsync("list", "--name", "train", "x").code == 64
    assert team.envsync("list", "--include-archived", "--archived-only").code == 64


def test_a_broken_lifecycle_file_is_told_by_every_command_that_reads_it(team: Team) -> None:
    team.repository.write({"lifecycle/train.yaml": "archived: maybe\n"})
    team.repository.commit("broken")
    for arguments in (["show", "train"], ["history", "train"], ["archive", "train"], ["validate"]):
        done = team.envsync(*arguments)
        assert done.code == 6, arguments
        assert "lifecycle/train.yaml:1:11" in done.err + done.out, arguments
    plan = team.envsync("plan", "--format", "json")
    assert (plan.code, plan.json["environments"][0]["state"]) == (6, "invalid")
    assert "lifecycle/train.yaml:1:11" in team.envsync("list").err


# ---- the registry's tag latest ----


def test_latest_in_the_registry_follows_what_is_archived_and_restored(team: Team) -> None:
    first, second = (record.digest for record in team.records("train"))
    assert team.tags("train")["latest"] == second

    def after(step: str) -> str:
        assert team.envsync(*step.split()).code == 0
        assert team.envsync("plan", "--detailed-exitcode").code == 0, "a commit makes it real"
        team.repository.commit(step)
        done = team.envsync("apply")
        assert done.code == 0, done.err
        assert team.envsync("plan", "--detailed-exitcode").code == 0
        team.check("train")
        return team.tags("train")["latest"]

    assert after("archive train:2") == first
    assert after("restore train:2") == second
    assert after("archive train:1") == second
    assert after("archive train:2") == second, "nothing is left that it could name: it stays"
    assert after("restore train:1") == first
    assert after("archive train") == first
    assert after("restore train") == first
    assert after("restore train:2") == second


def test_a_new_version_of_an_archived_name_is_archived_and_is_not_latest(team: Team) -> None:
    second = team.tags("train")["latest"]
    assert team.envsync("archive", "train").code == 0
    team.ask("train", "tiny-00003")
    plan = team.envsync("plan", "--format", "json").json["environments"][0]
    assert [a["target"] for a in plan["actions"] if a["verb"] == "tag"] == ["git", "3"]
    assert team.envsync("apply").code == 0
    assert team.tags("train")["latest"] == second
    assert listed(team) == []
    assert listed(team, "--name", "train", "--archived-only") == ["3", "2", "1"]
    assert team.envsync("restore", "train").code == 0
    team.repository.commit("restore")
    assert team.envsync("apply").code == 0
    assert team.tags("train")["latest"] == team.tags("train")["3"]


def test_the_first_version_of_an_archived_name_has_no_latest(folder_team: Team) -> None:
    folder_team.spec("old", "tiny-00001")
    assert folder_team.envsync("archive", "old").code == 0
    folder_team.ask("old", "tiny-00001")
    assert folder_team.envsync("apply").code == 0
    assert "latest" not in folder_team.tags("old")
    assert folder_team.envsync("plan", "--detailed-exitcode").code == 0


def test_flags_that_are_not_committed_are_named_by_plan(team: Team) -> None:
    assert team.envsync("archive", "train:2").code == 0
    done = team.envsync("plan", "--format", "json")
    assert done.json["uncommitted"] == ["lifecycle/train.yaml"]


# ---- references, in all forms, wherever a name is taken ----

FORMS: dict[str, tuple[int, str]] = {
    "train": (0, "2"),
    "azureml:train": (0, "2"),
    "train@latest": (0, "2"),
    "azureml:train@latest": (0, "2"),
    "train:1": (0, "1"),
    "azureml:train:1": (0, "1"),
    "train@stable": (6, "the only label is latest"),
    "train:latest": (6, "Write train@latest"),
    "train:9": (6, "has no version 9"),
    "train:": (6, "is not a version"),
    "Train": (6, "There is no environment"),
    "tr ain": (6, "is not the name of an environment"),
    "": (6, "is not the name of an environment"),
    "azureml://registries/azureml/environments/train/versions/1": (6, "not of this repository"),
    "azureml://registries/azureml/environments/train/labels/latest": (6, "not of this repository"),
    "azureml://registries/azureml/environments/train/labels/x": (6, "the only label is latest"),
    "azureml://workspaces/x/train": (6, "names a registry"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("command", ["show", "diff", "history", "list --name"])
def test_every_command_takes_references_in_every_form(quiet: Team, command: str, form: str) -> None:
    code, expected = FORMS[form]
    done = quiet.envsync(*command.split(), form, "--format", "json")
    assert done.code == code, done.err
    if code:
        assert expected in str(done.json["error"])
        return
    document = done.json
    found = {
        "show": lambda: document["version"]["version"],
        "diff": lambda: document["before"].removeprefix("train:"),
        "history": lambda: document["versions"][0]["version"],
        "list --name": lambda: document["versions"][0]["version"],
    }[command]()
    assert found == expected


@pytest.mark.parametrize(
    "form",
    [
        "azureml://registries/own/environments/train/versions/1",
        "azureml://registries/own/environment/train/versions/1",
        "azureml://registries/own/environments/train/labels/latest",
    ],
)
def test_a_reference_to_the_repositorys_own_registry_is_one_to_its_versions(
    server_team: Team, form: str
) -> None:
    registry = server_team.registry
    assert registry is not None
    server_team.settings(f"registries:\n  own: {registry.host}/team/envs\n")
    server_team.ask("train", "tiny-00001")
    assert server_team.envsync("apply").code == 0
    for command in ("show", "diff", "history"):
        done = server_team.envsync(command, form)
        assert done.code == 0, done.err
