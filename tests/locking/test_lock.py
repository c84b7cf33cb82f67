from __future__ import annotations

import datetime
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envsync.errors import InvalidInput, Misuse, Unavailable, Unsatisfiable
from envsync.operations.lock_work import LockChoices
from tests.locking.index import Index
from tests.locking.repository import Repository
from tests.parts.layout import PlatformImage, tar_of, write_layout
from tests.parts.serving import serve_folders

UPGRADE = LockChoices(upgrade=True)
OLD = LockChoices(exclude_newer=datetime.datetime(2024, 6, 1, tzinfo=datetime.UTC))
BANNER = b"GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\n"


def modified(repository: Repository) -> dict[str, int]:
    files = (repository.root / "locks").rglob("*")
    return {str(path): path.stat().st_mtime_ns for path in files if path.is_file()}


def test_a_lock_has_all_that_is_needed_and_satisfies_its_spec(small: Repository) -> None:
    small.spec("web", "flask", "python=3.11")
    outcome = small.locked("web")
    assert outcome.outcome == "locked"
    assert {c.name for c in outcome.changes if c.direct} == {"flask", "python"}
    assert small.versions("web")["flask"] == "3.1.0"
    assert small.check()["web"].fresh
    assert next(c for c in outcome.changes if c.name == "markupsafe").why[0] == "flask"


def test_a_second_lock_changes_no_byte_and_no_file(small: Repository) -> None:
    small.spec("web", "flask")
    small.spec("sums", "numpy")
    small.lock()
    before = modified(small)
    report = small.lock()
    assert [outcome.outcome for outcome in report.environments] == ["fresh", "fresh"]
    assert modified(small) == before


def test_an_upgrade_that_finds_nothing_newer_changes_no_file(small: Repository) -> None:
    small.spec("web", "flask")
    small.lock()
    before = modified(small)
    (outcome,) = small.lock(choices=UPGRADE).environments
    assert not outcome.wrote
    assert modified(small) == before


def test_the_same_spec_locks_to_the_same_bytes_anywhere(small: Repository, tmp_path: Path) -> None:
    small.spec("web", "flask", "numpy")
    small.lock()
    root = tmp_path / "elsewhere"
    shutil.copytree(small.root / "environments", root / "environments")
    other = Repository(root, small.channel, tmp_path / "other-cache")
    other.lock()
    assert other.files("web") == small.files("web")


def test_a_change_of_the_spec_moves_only_what_it_must(small: Repository) -> None:
    small.spec("web", "flask", "numpy")
    small.lock(choices=OLD)
    before = small.versions("web")
    assert (before["flask"], before["numpy"]) == ("3.0.3", "1.26.4")
    small.spec("web", "flask", "numpy>=2", "rich")
    outcome = small.locked("web")
    after = small.versions("web")
    assert after["numpy"] == "2.2.6"
    assert {n: after[n] for n in before if n != "numpy"} == {
        n: before[n] for n in before if n != "numpy"
    }
    assert any("numpy 1.26.4" in str(reason) for reason in outcome.why)


def test_an_upgrade_of_a_package_moves_what_was_named_and_what_that_forces(
    small: Repository,
) -> None:
    small.spec("web", "flask", "numpy", "rich")
    small.lock(choices=OLD)
    before = small.versions("web")
    small.locked("web", LockChoices(packages=frozenset({"rich"})))
    after = small.versions("web")
    assert {name for name in before if before[name] != after[name]} == {"rich"}
    # flask 3.1 needs newer blinker and werkzeug; click could move, and stays.
    small.locked("web", LockChoices(packages=frozenset({"flask"})))
    moved = {name for name, version in small.versions("web").items() if version != after[name]}
    assert moved == {"flask", "blinker", "werkzeug"}
    small.locked("web", UPGRADE)
    assert small.versions("web")["numpy"] == "2.2.6"


def test_an_upgrade_of_a_package_that_nobody_locks_is_misuse(small: Repository) -> None:
    small.spec("web", "flask")
    small.lock()
    with pytest.raises(Misuse, match="flaks"):
        small.lock(choices=LockChoices(packages=frozenset({"flaks"})))


def test_an_upgrade_of_a_package_leaves_environments_without_it_alone(small: Repository) -> None:
    small.spec("web", "flask")
    small.spec("sums", "numpy")
    small.lock(choices=OLD)
    small.lock(choices=LockChoices(packages=frozenset({"numpy"})))
    assert (small.versions("sums")["numpy"], small.versions("web")["flask"]) == ("2.2.6", "3.0.3")


def test_an_equal_request_takes_over_what_the_first_lock_decided(small: Repository) -> None:
    small.spec("first", "flask", "python=3.11")
    small.lock(choices=OLD)
    small.spec("second", "flask", "python=3.11", text="description: another name\n")
    outcome = small.locked("second")
    assert (outcome.outcome, outcome.source) == ("reused", "first")
    assert small.read("second").packages == small.read("first").packages
    assert small.versions("second")["flask"] == "3.0.3"
    assert small.check()["second"].fresh


def test_equal_requests_of_one_run_are_solved_once(small: Repository) -> None:
    for name in ("a", "b", "c"):
        small.spec(name, "flask")
    report = small.lock()
    assert [(o.outcome, o.source) for o in report.environments] == [
        ("locked", ""), ("reused", "a"), ("reused", "a"),
    ]  # fmt: skip
    assert small.read("a").packages == small.read("b").packages == small.read("c").packages


def test_a_new_platform_leaves_the_locked_one_as_it_is(real: Repository) -> None:
    real.spec("train", "python=3.12", "numpy")
    day = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
    real.lock(choices=LockChoices(exclude_newer=day))
    before = real.read("train").packages["linux-64"]
    platforms = "envsync: {platforms: [linux-64, linux-aarch64, osx-arm64, win-64]}\n"
    real.spec("train", "python=3.12", "numpy", text=platforms)
    assert {r.kind for r in real.check()["train"].why} == {"lock_platform_missing"}
    outcome = real.locked("train")
    after = real.read("train").packages
    assert sorted(after) == ["linux-64", "linux-aarch64", "osx-arm64", "win-64"]
    assert after["linux-64"] == before
    assert "linux-64" not in {p for change in outcome.changes for p in change.platforms}
    real.spec("train", "python=3.12", "numpy")
    assert not real.check()["train"].fresh
    real.locked("train")
    assert real.read("train").packages == {"linux-64": before}


def test_conda_lock_reads_every_lock_and_its_input_hash_agrees(real: Repository) -> None:
    from conda_lock.content_hash import backwards_compatible_content_hashes
    from conda_lock.lockfile import parse_conda_lock_file
    from conda_lock.src_parser import make_lock_spec
    from conda_lock.virtual_package import default_virtual_package_repodata

    real.spec(
        "train", "python=3.12", "pandas >=2", text="envsync: {platforms: [linux-64, osx-arm64]}\n"
    )
    real.lock()
    path = real.root / "locks/train/conda-lock.yml"
    parsed = parse_conda_lock_file(path)
    assert len(parsed.package) == sum(map(len, real.read("train").packages.values()))
    source = real.root / "environments/train/conda.yaml"
    assert (path.parent / parsed.metadata.sources[0]).resolve() == source.resolve()
    for platform, found in parsed.metadata.content_hash.items():
        spec = make_lock_spec(src_files=[source], platform_overrides=[platform], mapping_url="")
        accepted = backwards_compatible_content_hashes(
            spec, default_virtual_package_repodata(), platform
        )
        assert found in accepted


def test_failing_environments_are_told_and_the_others_written(small: Repository) -> None:
    small.spec("good", "flask")
    small.spec("bad", "flask=99")
    small.spec("worse", "nothing-like-it")
    report = small.lock()
    assert report.exit_code == 6
    by_name = {outcome.name: outcome for outcome in report.environments}
    assert isinstance(by_name["bad"].error, Unsatisfiable)
    assert "nothing-like-it" in str(by_name["worse"].error)
    assert by_name["good"].wrote
    assert not (small.root / "locks/bad").exists()
    assert small.lock("bad", "worse").exit_code == 6


def test_a_channel_that_is_away_breaks_no_lock(small: Repository, small_channel: Path) -> None:
    with serve_folders({"main": small_channel}) as server:
        small.channel = server.url("main")
        small.spec("web", "flask")
        small.lock()
        before = small.files("web")
        small.spec("web", "flask", "rich")
        server.fail(503)
        (outcome,) = small.lock().environments
    assert isinstance(outcome.error, Unavailable)
    assert small.files("web") == before


def test_checking_needs_no_channel(small: Repository, small_channel: Path) -> None:
    with serve_folders({"main": small_channel}) as server:
        small.channel = server.url("main")
        small.spec("web", "flask>=3")
        small.lock()
        server.forget()
        small.spec("web", "flask>=3,<4")
        assert small.check()["web"].fresh
        small.spec("web", "flask>=4")
        (reason,) = small.check()["web"].why
        assert server.requests() == []
    assert str(reason).startswith("flask 3.1.0 ")
    assert str(reason).endswith("is locked, the spec asks flask>=4 (linux-64)")


def test_a_kill_between_the_renames_is_found_and_the_next_lock_mends_it(
    small: Repository,
) -> None:
    small.spec("web", "flask")
    small.lock(choices=OLD)
    old = small.files("web")
    small.locked("web", UPGRADE)
    new = small.files("web")
    assert new.conda_lock != old.conda_lock
    # What stands there after a kill: the new packages, the old image.yaml.
    (small.root / "locks/web/image.yaml").write_bytes(old.image)
    (reason,) = small.check()["web"].why
    assert reason.kind == "lock_integrity"
    small.locked("web")
    assert small.files("web") == new
    assert small.check()["web"].fresh


def test_a_process_killed_at_any_rename_leaves_whole_files(small: Repository) -> None:
    small.spec("web", "flask")
    small.lock(choices=OLD)
    old = small.files("web")
    small.locked("web", UPGRADE)
    new = small.files("web")
    script = """
import os, sys
from pathlib import Path
from envsync.adapters.locks.lock_folders import LockFolders
from envsync.ports.locks import LockFiles
root, count = Path(sys.argv[1]), int(sys.argv[2])
conda, image = (Path(sys.argv[3]).read_bytes(), Path(sys.argv[4]).read_bytes())
seen = [0]
rename = Path.replace
def killed(self, target):
    if seen[0] == count:
        os._exit(9)
    seen[0] += 1
    return rename(self, target)
Path.replace = killed
LockFolders(root)({"web": LockFiles(conda_lock=conda, image=image)})
"""
    conda, image = small.root / "new-conda", small.root / "new-image"
    conda.write_bytes(new.conda_lock or b"")
    image.write_bytes(new.image)
    folder = small.root / "locks/web"
    seen = []
    for count in range(3):
        (folder / "conda-lock.yml").write_bytes(old.conda_lock or b"")
        (folder / "image.yaml").write_bytes(old.image)
        arguments = [str(small.root), str(count), str(conda), str(image)]
        done = subprocess.run([sys.executable, "-c", script, *arguments])
        files = small.files("web")
        seen.append((done.returncode, files.conda_lock == new.conda_lock, files.image == new.image))
        assert files.conda_lock in {old.conda_lock, new.conda_lock}
        assert files.image in {old.image, new.image}
        # A lock that was torn is never taken for a good one.
        assert small.check()["web"].fresh == (seen[-1][1] == seen[-1][2])
    assert seen == [(9, False, False), (9, True, False), (0, True, True)]


def test_a_broken_lock_is_found_and_made_again(small: Repository) -> None:
    small.spec("web", "flask")
    small.lock()
    path = small.root / "locks/web/conda-lock.yml"
    path.write_text(path.read_text().replace("sha256: '", "sha256: 'x", 1))
    (reason,) = small.check()["web"].why
    assert reason.kind == "lock_integrity"
    assert "sha256" in reason.text
    assert small.locked("web").outcome == "locked"
    assert small.check()["web"].fresh


def test_locks_never_leave_the_repository(small: Repository, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (small.root / "locks").mkdir()
    (small.root / "locks/web").symlink_to(outside)
    small.spec("web", "flask")
    with pytest.raises(InvalidInput, match="cannot be written"):
        small.lock()
    assert list(outside.iterdir()) == []


def test_what_conda_provides_pip_does_not_lock_again(small: Repository, tmp_path: Path) -> None:
    index = Index(tmp_path / "index")
    index.wheel("model", "1.0", ["numpy>=1.20", "helper"])
    index.wheel("helper", "0.1")
    index.wheel("numpy", "2.3.0")
    small.variables.update(index.variables())
    small.spec("train", "python=3.11", "numpy=1.26", pip=("model",))
    outcome = small.locked("train")
    packages = small.read("train").packages["linux-64"]
    assert {p.name for p in packages if p.manager == "pip"} == {"model", "helper"}
    assert [p.version for p in packages if p.name == "numpy"] == ["1.26.4"]
    helper = next(c for c in outcome.changes if c.name == "helper")
    assert (helper.manager, helper.why) == ("pip", ("model",))
    assert small.check()["train"].fresh
    small.spec("train", "python=3.11", "numpy=1.26", pip=("model", "numpy>=2"))
    with pytest.raises(Unsatisfiable, match=r"conda provides numpy 1\.26\.4"):
        small.locked("train")


def test_pip_without_python_is_refused_in_words(small: Repository, tmp_path: Path) -> None:
    small.spec("train", "generic-data", pip=("model",))
    with pytest.raises(InvalidInput, match="have no python"):
        small.locked("train")


def with_base(repository: Repository, tmp_path: Path, files: dict[str, bytes | str]) -> Path:
    """Make a base image for both linux platforms, in place of the one before."""
    repository.bases = tmp_path / "bases"
    folder = repository.bases / "base"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    layers = [tar_of(files)]
    images = [PlatformImage(architecture=a, layers=layers) for a in ("amd64", "arm64")]
    write_layout(folder, images)
    return folder


def test_the_base_decides_glibc_and_its_digests_are_locked(
    small: Repository, tmp_path: Path
) -> None:
    with_base(small, tmp_path, {"lib/libc.so.6": BANNER})
    small.spec("web", "flask", image="layouts.test/base:latest")
    small.locked("web")
    image = small.read("web").image
    assert image.image == "layouts.test/base:latest"
    assert image.digest.startswith("sha256:")
    assert {p: b.glibc for p, b in image.platforms.items()} == {"linux-64": "2.36"}
    assert image.platforms["linux-64"].digest != image.digest


def test_a_tag_that_moved_stays_frozen_until_an_upgrade(small: Repository, tmp_path: Path) -> None:
    with_base(small, tmp_path, {"lib/libc.so.6": BANNER})
    small.spec("web", "flask", image="layouts.test/base:latest")
    small.locked("web")
    before = small.read("web").image
    with_base(small, tmp_path, {"lib/libc.so.6": BANNER, "etc/patched": b"yes"})
    small.asked.clear()
    assert small.locked("web").outcome == "fresh"
    small.spec("web", "flask", "rich", image="layouts.test/base:latest")
    small.locked("web")
    small.locked("web", LockChoices(packages=frozenset({"rich"})))
    assert small.asked == []
    assert small.read("web").image.digest == before.digest
    outcome = small.locked("web", UPGRADE)
    assert outcome.base == (before.digest, small.read("web").image.digest)
    assert before.digest != small.read("web").image.digest


def test_a_base_without_glibc_is_said(small: Repository, tmp_path: Path) -> None:
    with_base(small, tmp_path, {"lib/ld-musl-x86_64.so.1": b"musl"})
    small.spec("web", "flask", image="layouts.test/base:latest")
    with pytest.raises(Unsatisfiable, match="has no glibc"):
        small.locked("web")
    known = "envsync: {virtual_packages: {__glibc: '2.36'}}\n"
    small.spec("web", "flask", image="layouts.test/base:latest", text=known)
    small.locked("web")


def test_an_image_environment_locks_its_digests_only(small: Repository, tmp_path: Path) -> None:
    with_base(small, tmp_path, {"etc/x": b"x"})
    folder = small.root / "environments/tool"
    folder.mkdir(parents=True)
    (folder / "environment.yaml").write_text("name: tool\nimage: layouts.test/base:latest\n")
    small.locked("tool")
    files = small.files("tool")
    assert files.conda_lock is None
    assert sorted(small.read("tool").image.platforms) == ["linux-64"]
    assert small.check()["tool"].fresh


def test_a_base_that_is_not_there_fails_that_environment_only(
    small: Repository, tmp_path: Path
) -> None:
    small.bases = tmp_path
    small.spec("web", "flask", image="layouts.test/nothing:1")
    small.spec("sums", "numpy")
    report = small.lock()
    assert report.exit_code == 6
    assert "There is no such base image" in str(report.environments[1].error)


def test_conda_packages_on_a_windows_image_are_refused(small: Repository) -> None:
    small.spec("web", "flask", image="windows:1", text="os_type: windows\n")
    with pytest.raises(InvalidInput, match="Windows image"):
        small.locked("web")


def test_locks_are_written_for_people_to_read(small: Repository) -> None:
    small.spec("web", "flask")
    small.lock()
    files = small.files("web")
    assert files.image.startswith(b"# The base image")
    assert b"\nformat: 1\n" in files.image
    assert files.conda_lock is not None
    assert files.conda_lock.startswith(b"# The exact packages")
    assert (small.root / "locks/web/image.yaml").stat().st_mode & 0o777 == 0o644
