"""Apply, on real registries and real git: what it does once, and never does twice."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envsync.model.reading import Present
from envsync.oci.descriptor import INDEX
from tests.parts.baseimage import hollow_base
from tests.parts.process import tool
from tests.parts.registry import Registry
from tests.team import MUTATING, Done, Team


def written(team: Team) -> object:
    """Return whatever changes when anything is written anywhere."""
    requests = [r for m in MUTATING for r in team.registry.requests(m)] if team.registry else []
    return (
        team.state(),
        team.arbiter.refs(),
        team.repository.refs(),
        files(team.layouts),
        requests,
    )


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file()
    }


def uploads(team: Team) -> int:
    """Return how many blobs were ever written to the registry."""
    if team.registry is None:
        return len({inode for _, inode in files(team.layouts).values()})
    return len([r for r in team.registry.requests("PUT", "/blobs/uploads/") if r.status == 201])


def applied(team: Team, *arguments: str) -> dict[str, Any]:
    """Apply without any failure; return the results by environment."""
    done = team.envsync("apply", "--format=json", *arguments)
    assert done.code == 0, done.out + done.err
    return {e["name"]: e for e in done.json["environments"]}


def planned(team: Team, *arguments: str) -> dict[str, Any]:
    """Plan; return the environments by name."""
    done = team.envsync("plan", "--format=json", *arguments)
    return {e["name"]: e for e in done.json["environments"]}


def refused(done: Done, code: int) -> dict[str, Any]:
    """Return the one error of an apply that ended with *code*."""
    assert done.code == code, done.out + done.err
    document = done.json
    errors = [e["error"] for e in document.get("environments", [document]) if e["error"]]
    assert len(errors) == 1
    assert errors[0]["exit_code"] == code
    error: dict[str, Any] = errors[0]
    return error


@pytest.fixture
def base(registry: Registry) -> Iterator[str]:
    """A base image for two platforms in the test's registry."""
    with hollow_base() as image:
        yield image.push(registry)


def test_apply_creates_what_is_asked_for_and_a_second_one_writes_nothing(team: Team) -> None:
    commit = team.ask("train", "tiny-00003")
    before = team.state()
    result = applied(team)["train"]
    assert (result["state"], result["did"], result["version"]) == ("done", "create", "1")
    digest = result["digest"]
    (record,) = team.records("train")
    assert (record.digest, record.commit) == (digest, commit)
    assert team.tags("train") == {
        f"def-{record.definition}": digest,
        f"git-{commit[:12]}": digest,
        "latest": digest,
        "1": digest,
    }
    team.check("train")
    assert team.state() == before
    wrote = written(team)
    again = applied(team)
    assert [e["state"] for e in again.values()] == ["unchanged"]
    assert written(team) == wrote


def test_a_plan_writes_nothing_outside_of_its_cache(team: Team, tmp_path: Path) -> None:
    def outside() -> object:
        elsewhere = [p for p in tmp_path.iterdir() if p.name not in ("cache", "home", "work")]
        home = {str(p) for p in (tmp_path / "home").rglob("*")}
        return (written(team), [files(folder) for folder in elsewhere], home)

    team.ask("train", "tiny-00003")
    before = outside()
    for arguments in (["plan"], ["plan", "--format=json"], ["status"]):
        assert team.envsync(*arguments).code == 0
    assert outside() == before
    assert not team.layouts.exists()
    applied(team)
    team.ask("train", "tiny-00003", "tiny-00010")
    before = outside()
    assert planned(team)["train"]["state"] == "new_version"
    assert team.envsync("status").code == 0
    assert outside() == before
    saved = tmp_path / "plan.json"
    assert team.envsync("plan", "--out", str(saved)).code == 0
    assert json.loads(saved.read_bytes())["environments"][0]["state"] == "new_version"


def test_an_environment_in_sync_costs_two_requests_and_no_tags_are_listed(
    server_team: Team,
) -> None:
    assert server_team.registry is not None
    for name in ("train", "serve", "label"):
        server_team.ask(name, "tiny-00003")
    applied(server_team)
    server_team.registry.forget()
    assert {e["state"] for e in planned(server_team).values()} == {"in_sync"}
    asked = [r for r in server_team.registry.requests() if r.path != "/v2/"]
    assert [r.method for r in asked] == ["HEAD"] * 6


def test_a_change_is_a_new_version_and_only_what_changed_is_uploaded(team: Team) -> None:
    team.settings("referrers: false\n")
    team.ask("train", "tiny-00013")
    first = applied(team)["train"]
    before = uploads(team)
    team.ask("train", "tiny-00013", "tiny-00020")
    second = applied(team)["train"]
    assert (second["did"], second["version"]) == ("new_version", "2")
    assert second["digest"] != first["digest"]
    # The layer of the new package, the environment's own layer, the config.
    expected = 3 if team.registry else 4  # and in a folder the manifest is a blob as well
    assert uploads(team) - before == expected
    assert team.tags("train")["latest"] == team.tags("train")["2"] == second["digest"]
    assert team.tags("train")["1"] == first["digest"]
    team.check("train")


def test_what_two_environments_share_is_built_once_and_uploaded_once(team: Team) -> None:
    team.settings("referrers: false\n")
    team.ask("serve", "tiny-00003")
    team.ask("train", "tiny-00003")
    done = team.envsync("apply")
    assert done.code == 0, done.err
    assert done.err.count("reading 4 packages") == 1
    assert team.tags("serve")["1"] == team.tags("train")["1"]
    # Four packages, the environment's own layer, a config.
    if team.registry:
        assert uploads(team) == 6
        mounted = [r for r in team.registry.requests("POST", "mount=") if r.status == 201]
        assert len(mounted) == 6
    team.check("serve", "train")
    before = uploads(team)
    team.ask("label", "tiny-00003")
    plan = planned(team)["label"]
    assert (plan["state"], plan["copy_from"]) == ("reuse", "train")
    assert applied(team)["label"]["digest"] == team.tags("train")["1"]
    if team.registry:
        assert uploads(team) == before
    team.check("label", "serve", "train")


def test_blobs_of_two_environments_are_one_file_in_a_folder(folder_team: Team) -> None:
    folder_team.settings("referrers: false\n")
    folder_team.ask("serve", "tiny-00003")
    folder_team.ask("train", "tiny-00003")
    applied(folder_team)
    serve, train = (
        {p.name: p.stat().st_ino for p in (folder_team.layouts / name / "blobs/sha256").iterdir()}
        for name in ("serve", "train")
    )
    assert serve.keys() == train.keys()
    assert len([name for name in serve if serve[name] == train[name]]) == 6


def test_going_back_is_a_new_version_of_the_same_image_and_uploads_nothing(team: Team) -> None:
    team.settings("referrers: false\n")
    old = team.ask("train", "tiny-00003")
    first = applied(team)["train"]
    team.ask("train", "tiny-00004")
    applied(team)
    before = uploads(team)
    team.repository.git("revert", "--no-edit", "HEAD")
    third = applied(team)["train"]
    assert (third["did"], third["version"], third["digest"]) == ("reuse", "3", first["digest"])
    if team.registry:
        assert uploads(team) == before
    # The same by checking an old commit out, whose date is before that of the newest version.
    team.ask("train", "tiny-00005")
    applied(team)
    team.repository.git("checkout", "--quiet", old)
    fifth = applied(team)["train"]
    assert (fifth["version"], fifth["digest"]) == ("5", first["digest"])
    assert applied(team)["train"]["state"] == "unchanged"
    assert team.versions("train") == ["1", "2", "3", "4", "5"]
    assert team.tags("train")["latest"] == first["digest"]
    team.check("train")


def test_others_read_the_image_and_its_label(team: Team) -> None:
    team.ask("train", "tiny-00003")
    applied(team)
    (record,) = team.records("train")
    if team.registry:
        command = ["--tls-verify=false", f"docker://{team.registry.host}/{team.place('train')}:1"]
    else:
        command = [f"oci:{team.layouts}/train:1"]
    done = subprocess.run(
        [tool("skopeo"), "inspect", *command], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["Digest"] == record.digest
    assert found["Labels"]["io.envsync.definition-hash"] == record.definition


@pytest.mark.parametrize("tag", ["1", "latest"])
def test_a_missing_version_tag_is_put_again_without_building(team: Team, tag: str) -> None:
    team.ask("train", "tiny-00003")
    digest = applied(team)["train"]["digest"]
    team.delete_tag("train", "1")
    if tag == "latest":
        team.delete_tag("train", "latest")
    assert planned(team)["train"]["state"] == "retag"
    before = uploads(team)
    assert applied(team)["train"]["did"] == "retag"
    if team.registry:
        assert uploads(team) == before
    assert team.tags("train")[tag] == digest
    assert team.versions("train") == ["1"]
    team.check("train")


def test_after_the_registry_was_wiped_the_same_digest_is_published_again(team: Team) -> None:
    team.ask("train", "tiny-00013")
    digest = applied(team)["train"]["digest"]
    before, refs = team.tags("train"), team.arbiter.refs()
    team.wipe_registry()
    assert team.tags("train") == {}
    assert applied(team)["train"]["did"] == "republish"
    assert team.tags("train") == before
    assert team.arbiter.refs() == refs
    assert team.records("train")[0].digest == digest
    team.check("train")


def forget_record(team: Team, name: str, version: str) -> None:
    for where in (team.repository, team.arbiter):
        where.git("update-ref", "-d", f"refs/tags/env/{name}/{version}")


def test_what_is_published_and_not_recorded_is_adopted(team: Team) -> None:
    team.ask("train", "tiny-00003")
    first = applied(team)["train"]
    refs = team.arbiter.refs()
    forget_record(team, "train", "1")
    assert planned(team)["train"]["state"] == "reuse"
    before = uploads(team)
    again = applied(team)["train"]
    assert (again["version"], again["digest"]) == ("1", first["digest"])
    assert uploads(team) == before
    assert team.arbiter.refs() == refs, "the same version is the same tag object"
    team.check("train")


def test_a_version_tag_that_somebody_moved_is_a_conflict_and_nothing_is_written(
    team: Team,
) -> None:
    team.ask("train", "tiny-00003")
    applied(team)
    team.ask("train", "tiny-00004")
    second = applied(team)["train"]["digest"]
    team.move_tag("train", "2", team.tags("train")["1"])
    if team.registry:
        team.registry.forget()
    wrote = written(team)
    error = refused(team.envsync("apply", "--format=json"), 5)
    assert error["kind"] == "Conflict"
    assert second in error["detail"]
    assert "registry tag 2 points at" in error["detail"]
    assert written(team) == wrote


def test_a_registry_tag_without_a_record_is_a_conflict(team: Team) -> None:
    team.ask("train", "tiny-00003")
    digest = applied(team)["train"]["digest"]
    team.move_tag("train", "2", digest)
    team.ask("train", "tiny-00004")
    wrote = written(team)
    error = refused(team.envsync("apply", "--format=json"), 5)
    assert "the registry already has a tag 2" in error["detail"]
    assert written(team) == wrote


def test_an_image_that_somebody_replaced_is_a_conflict(team: Team) -> None:
    team.ask("train", "tiny-00003")
    first = applied(team)["train"]["digest"]
    team.ask("train", "tiny-00004")
    applied(team)
    team.move_tag("train", f"def-{team.records('train')[1].definition}", first)
    error = refused(team.envsync("apply", "--format=json"), 5)
    assert "the registry holds" in error["detail"]


def test_a_content_tag_that_lies_is_never_recorded(team: Team) -> None:
    """The read-back: the tag of a definition names an image of another one."""
    team.ask("train", "tiny-00003")
    first = applied(team)["train"]["digest"]
    team.ask("train", "tiny-00004")
    definition = planned(team)["train"]["after"]["definition"]
    team.move_tag("train", f"def-{definition}", first)
    assert planned(team)["train"]["state"] == "reuse"
    error = refused(team.envsync("apply", "--format=json"), 5)
    assert "is not what its tag says" in error["summary"]
    assert team.versions("train") == ["1"]


def test_a_git_tag_that_is_no_record_is_a_conflict(team: Team) -> None:
    team.ask("train", "tiny-00003")
    team.repository.git("push", "--quiet", str(team.arbiter.path), "HEAD:refs/tags/env/train/1")
    error = refused(team.envsync("apply", "--format=json"), 5)
    assert "git tag env/train/1 is in the way" in error["detail"]
    assert team.tags("train") == {}


def test_an_explicit_version_is_used_once(team: Team) -> None:
    team.ask("train", "tiny-00003", text="version: 1.2.0")
    assert applied(team)["train"]["version"] == "1.2.0"
    team.ask("train", "tiny-00004", text="version: 1.2.0")
    wrote = written(team)
    error = refused(team.envsync("apply", "--format=json"), 5)
    assert "version 1.2.0 is recorded with another definition" in error["detail"]
    assert written(team) == wrote
    team.ask("train", "tiny-00004", text="version: 1.3.0")
    assert applied(team)["train"]["version"] == "1.3.0"
    team.ask("train", "tiny-00004")
    assert applied(team)["train"]["state"] == "unchanged"
    team.ask("train", "tiny-00005")
    assert applied(team)["train"]["version"] == "1"
    team.check("train")


def test_a_reviewed_plan_is_carried_out_by_its_id(folder_team: Team) -> None:
    team = folder_team
    team.ask("train", "tiny-00003")
    plan_id = team.envsync("plan", "--format=json").json["plan_id"]
    team.ask("serve", "tiny-00004")
    error = refused(team.envsync("apply", "--format=json", "--plan-id", plan_id), 4)
    assert error["kind"] == "StalePlan"
    assert team.tags("train") == {}
    for wrong in (plan_id[:7], "f" * 16):
        assert team.envsync("apply", "--plan-id", wrong).code == 4
    now = team.envsync("plan", "--format=json").json["plan_id"]
    assert set(applied(team, "--plan-id", now[:16])) == {"train", "serve"}
    again = team.envsync("apply", "--plan-id", now)
    assert (again.code, again.out) == (0, "Nothing to do: 2 in sync.\n")


def test_the_hint_of_a_plan_can_be_pasted(folder_team: Team) -> None:
    folder_team.ask("train", "tiny-00003")
    lines = folder_team.envsync("plan").out.splitlines()
    command = next(line.split() for line in lines if line.startswith("    envsync apply"))
    assert folder_team.envsync(*command[1:]).code == 0
    assert folder_team.versions("train") == ["1"]


def test_a_saved_plan_is_about_its_environments_only(folder_team: Team, tmp_path: Path) -> None:
    team, saved = folder_team, tmp_path / "plan.json"
    team.ask("train", "tiny-00003")
    assert team.envsync("plan", "--out", str(saved)).code == 0
    team.ask("serve", "tiny-00004")
    results = applied(team, "--plan", str(saved))
    assert results["train"]["state"] == "done"
    assert team.versions("serve") == []
    assert applied(team, "--plan", str(saved))["train"]["state"] == "unchanged"
    team.ask("train", "tiny-00005")
    assert refused(team.envsync("apply", "--format=json", "--plan", str(saved)), 4)["kind"] == (
        "StalePlan"
    )
    assert team.versions("train") == ["1"]


def test_a_saved_plan_still_holds_after_an_apply_that_was_cut_short(
    folder_team: Team, tmp_path: Path
) -> None:
    team, saved = folder_team, tmp_path / "plan.json"
    team.ask("train", "tiny-00003")
    assert team.envsync("plan", "--out", str(saved)).code == 0
    applied(team, "--plan", str(saved))
    forget_record(team, "train", "1")  # as if it had been killed before recording
    team.delete_tag("train", "1")
    assert applied(team, "--plan", str(saved))["train"]["did"] == "reuse"
    team.delete_tag("train", "1")  # and before tagging
    assert applied(team, "--plan", str(saved))["train"]["did"] == "retag"
    assert team.versions("train") == ["1"]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format_version": "2.0"}', "\x00"])
def test_a_file_that_is_no_saved_plan_is_refused(
    folder_team: Team, tmp_path: Path, content: str
) -> None:
    saved = tmp_path / "plan.json"
    saved.write_text(content)
    folder_team.ask("train", "tiny-00003")
    done = folder_team.envsync("apply", "--plan", str(saved))
    assert done.code == 6
    assert "is not a saved plan" in done.err


def test_one_failing_environment_does_not_keep_the_others_from_being_done(team: Team) -> None:
    team.ask("good", "tiny-00003")
    team.ask("stale", "tiny-00004")
    team.spec("stale", "tiny-00005")
    team.repository.write({"environments/broken/environment.yaml": "image: [\n"})
    team.ask("late", "tiny-00006")
    done = team.envsync("apply", "--format=json")
    states = {e["name"]: e["state"] for e in done.json["environments"]}
    assert states == {"good": "done", "late": "done", "stale": "failed", "broken": "failed"}
    assert done.code == 6, "invalid input comes before: some failed"
    assert team.envsync("apply", "good", "late").code == 0
    team.check("good", "late")


def test_names_and_globs_narrow_what_is_applied(folder_team: Team) -> None:
    for name in ("train-a", "train-b", "serve"):
        folder_team.ask(name, "tiny-00003")
    assert set(applied(folder_team, "train-*")) == {"train-a", "train-b"}
    assert folder_team.versions("serve") == []
    done = folder_team.envsync("apply", "sever")
    assert (done.code, "Did you mean: serve?" in done.err) == (6, True)


def test_an_environment_that_is_only_an_image_is_recorded_by_its_digest(
    team: Team, base: str
) -> None:
    team.ask("base", image=base)
    result = applied(team)["base"]
    (record,) = team.records("base")
    assert record.digest == result["digest"] == record.base_digest
    assert team.tags("base") == {}
    team.check("base")
    wrote = written(team)
    assert applied(team)["base"]["state"] == "unchanged"
    assert written(team) == wrote
    shown = team.envsync("show", "base")
    assert base in shown.out
    assert record.digest in shown.out


def test_an_image_that_is_copied_keeps_its_digest(team: Team, base: str) -> None:
    team.settings("copy_images: true\n")
    team.ask("base", image=base)
    result = applied(team)["base"]
    (record,) = team.records("base")
    assert record.digest == result["digest"] == record.base_digest
    assert set(team.tags("base").values()) == {record.digest}
    assert {"1", "latest"} <= team.tags("base").keys()
    team.check("base")
    wrote = written(team)
    assert applied(team)["base"]["state"] == "unchanged"
    assert written(team) == wrote


def test_an_environment_for_two_platforms_is_an_index_on_a_base(team: Team, base: str) -> None:
    team.settings("platforms: [linux-64, linux-aarch64]\n")
    team.ask("train", "tiny-00003", image=base)
    result = applied(team)["train"]
    with team.reader() as reader:
        found = reader.head(team.place("train"), "1")
    assert isinstance(found, Present)
    assert found.value.media_type == INDEX
    assert team.records("train")[0].platforms == ("linux-64", "linux-aarch64")
    team.check("train")
    digest = result["digest"]
    wrote = written(team)
    assert applied(team)["train"]["state"] == "unchanged"
    assert written(team) == wrote
    if team.registry is None:
        team.wipe_registry()
        assert applied(team)["train"]["digest"] == digest


def test_what_has_no_spec_any_more_stays_published_and_is_named(team: Team) -> None:
    team.ask("train", "tiny-00003")
    team.ask("serve", "tiny-00004")
    applied(team)
    team.repository.git("rm", "-rq", "environments/serve", "locks/serve")
    team.repository.commit("serve is gone")
    done = team.envsync("plan")
    assert "no spec any more, images and records stay: serve" in done.out
    assert set(applied(team)) == {"train"}
    assert team.tags("serve")["1"] == team.records("serve")[0].digest


def test_what_is_not_committed_is_named_and_not_built(team: Team) -> None:
    team.ask("train", "tiny-00003")
    applied(team)
    team.spec("train", "tiny-00004")
    team.spec("new", "tiny-00005")
    plan = team.envsync("plan", "--format=json").json
    changed = ["environments/new/environment.yaml", "environments/train/environment.yaml"]
    assert plan["uncommitted"] == changed
    assert plan["changes"] == 0
    done = team.envsync("apply")
    assert done.code == 0
    assert f"not committed, so not applied: {', '.join(changed)}" in done.err
    assert team.versions("train") == ["1"]


def test_another_environments_content_tag_that_lies_is_not_taken_over(team: Team) -> None:
    team.ask("serve", "tiny-00003")
    applied(team)
    team.ask("serve", "tiny-00004")
    second = applied(team)["serve"]["digest"]
    team.move_tag("serve", f"def-{team.records('serve')[0].definition}", second)
    team.ask("train", "tiny-00003")
    assert (planned(team)["train"]["state"], planned(team)["train"]["copy_from"]) == (
        "reuse",
        "serve",
    )
    error = refused(team.envsync("apply", "--format=json", "train"), 5)
    assert "is not what its tag says" in error["summary"]
    assert team.tags("train") == {}
    assert team.versions("train") == []


def test_latest_waits_for_an_image_that_is_lost(team: Team) -> None:
    """An old version is asked for again; that the newest one is lost does not keep it away."""
    for version, package in (("1.0", "tiny-00003"), ("1.1", "tiny-00004")):
        team.ask("train", package, text=f"version: {version}")
        applied(team)
    newest = team.tags("train")["latest"]
    assert team.envsync("update", "train:1.1", "--set", "description=The newest").code == 0
    team.ask("train", "tiny-00003", text="version: 1.0")
    team.wipe_registry()
    plan = planned(team)["train"]
    assert plan["state"] == "republish"
    assert {"verb": "tag", "target": "latest"} not in plan["actions"]
    assert applied(team)["train"]["version"] == "1.0"
    assert "latest" not in team.tags("train")
    assert applied(team)["train"]["state"] == "unchanged"
    assert team.envsync("verify", "--repair").code == 0
    assert team.tags("train")["latest"] == newest
    team.check("train")
