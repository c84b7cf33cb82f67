"""Policy while locking: what may be chosen, what a lock says of its packages and of its age."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from envsync.errors import PolicyRefused
from envsync.model.canonical import sha256_hex
from envsync.model.lock_text import split_tables
from envsync.operations.lock_work import LockChoices
from tests.locking.index import Index
from tests.locking.repository import Repository

ANEW = LockChoices(upgrade=True)


def on(repository: Repository, day: str, policy: str | None = None) -> None:
    """Let it be noon of *day*, and write the policy."""
    date = datetime.date.fromisoformat(day)
    repository.moment = datetime.datetime.combine(date, datetime.time(12), datetime.UTC)
    if policy is not None:
        (repository.root / "envsync.yaml").write_text(f"policy: {policy}\n")


def test_a_lock_says_what_the_channel_says_of_licences_and_days(small: Repository) -> None:
    small.spec("web", "click=8.1.7")
    small.locked("web")
    image = small.read("web").image
    (file,) = [name for name in image.sizes if name.startswith("click-")]
    assert image.licenses[file] == "LicenseRef-See-Metadata"
    assert image.released[file] == "2023-08-17"
    assert image.chosen == ""
    text = small.files("web").image.decode()
    assert f"\n  {file}: 'LicenseRef-See-Metadata'\n" in text.partition("\nlicenses:\n")[2]
    tables = split_tables(text)
    assert tables is not None, "the fast reading reads it"
    assert tables[1]["released"] == dict(image.released)


def test_without_a_limit_of_age_a_lock_says_nothing_of_clocks(small: Repository) -> None:
    small.spec("web", "click")
    on(small, "2026-11-21")
    small.locked("web")
    before = small.files("web")
    on(small, "2027-03-01")
    small.locked("web", ANEW)
    assert small.files("web") == before


def test_only_what_is_old_enough_is_chosen(small: Repository) -> None:
    """click 8.1.8 was released on 2024-12-21."""
    small.spec("web", "click")
    on(small, "2024-12-25", "{cooldown: 7}")
    small.locked("web")
    assert small.versions("web")["click"] == "8.1.7"
    on(small, "2024-12-29")
    small.locked("web", ANEW)
    assert small.versions("web")["click"] == "8.1.8"


def test_the_stricter_of_two_dates_counts(small: Repository) -> None:
    small.spec("web", "click")
    on(small, "2025-06-01", "{cooldown: 7}")
    for day, version in (("2024-01-01", "8.1.7"), ("2025-05-31", "8.1.8")):
        moment = datetime.datetime.fromisoformat(f"{day}T00:00:00+00:00")
        small.locked("web", replace(ANEW, exclude_newer=moment))
        assert small.versions("web")["click"] == version


def test_a_package_that_is_locked_too_soon_is_refused_and_can_be_chosen_again(
    small: Repository,
) -> None:
    small.spec("web", "click")
    on(small, "2024-12-22")
    small.locked("web")
    on(small, "2024-12-25", "{cooldown: 7}")
    with pytest.raises(PolicyRefused, match=r"click 8\.1\.8 was released on 2024-12-21, and it is"):
        small.locked("web")
    small.locked("web", LockChoices(packages=frozenset({"click"})))
    assert small.versions("web")["click"] == "8.1.7"


def test_a_lock_says_when_everything_was_chosen_and_keeps_the_day(small: Repository) -> None:
    small.spec("web", "click=8.1.7")
    on(small, "2026-01-01", "{max_lock_age: 90}")
    small.locked("web")
    assert small.read("web").image.chosen == "2026-01-01"
    on(small, "2026-02-01")
    small.spec("web", "click=8.1.8")
    small.locked("web")
    assert small.read("web").image.chosen == "2026-01-01", "the rest is as old as it was"
    on(small, "2026-04-02")
    with pytest.raises(PolicyRefused, match="its lock is of 2026-01-01, and it is judged on"):
        small.locked("web")
    small.locked("web", ANEW)
    assert small.read("web").image.chosen == "2026-04-02", "although nothing newer was found"


def test_what_was_left_out_on_purpose_makes_a_lock_no_younger(small: Repository) -> None:
    small.spec("web", "click")
    on(small, "2026-01-01", "{max_lock_age: 900}")
    moment = datetime.datetime(2024, 10, 1, tzinfo=datetime.UTC)
    small.locked("web", LockChoices(exclude_newer=moment))
    assert small.read("web").image.chosen == "2024-10-01"


def test_an_equal_request_takes_over_the_day_as_well(small: Repository) -> None:
    small.spec("web", "click")
    on(small, "2026-01-01", "{max_lock_age: 90}")
    small.locked("web")
    on(small, "2026-02-01")
    small.spec("again", "click")
    assert small.locked("again").source == "web"
    assert small.read("again").image.chosen == "2026-01-01"
    assert small.read("again").image.released == small.read("web").image.released
    (small.root / "envsync.yaml").unlink()
    small.spec("third", "click")
    small.locked("third")
    assert small.read("third").image.chosen == "", "nobody asks any more"


def test_a_lock_without_a_day_is_made_again_as_a_whole(small: Repository) -> None:
    small.spec("web", "click=8.1.7")
    small.locked("web")
    on(small, "2026-02-01", "{max_lock_age: 90}")
    small.spec("web", "click=8.1.8")
    with pytest.raises(PolicyRefused, match="its lock does not say when it was made"):
        small.locked("web")
    small.locked("web", ANEW)
    assert small.read("web").image.chosen == "2026-02-01"


def test_the_licence_of_a_wheel_is_what_the_policy_says_it_is(
    small: Repository, tmp_path_factory: pytest.TempPathFactory
) -> None:
    index = Index(tmp_path_factory.mktemp("index"))
    index.wheel("leaf", "1.0")
    small.variables = index.variables()
    small.spec("web", "python=3.11", pip=("leaf",))
    small.locked("web")
    assert not any("leaf" in name for name in small.read("web").image.released)
    on(small, "2026-02-01", "{licenses: {forbidden: [GPL-*]}}")
    with pytest.raises(PolicyRefused) as raised:
        small.locked("web")
    assert "leaf has no known licence" in str(raised.value)
    on(small, "2026-02-01", "{licenses: {forbidden: [GPL-*], of: {leaf: MIT}}}")
    small.locked("web")


@contextmanager
def dated_index(wheels: Mapping[str, tuple[bytes, str]]) -> Iterator[str]:
    """Serve wheels of the project ``leaf``, by file name, with the moments of their upload.

    Source: https://packaging.python.org/en/latest/specifications/simple-repository-api/
    """
    files = [
        {
            "filename": name,
            "url": f"../../{name}",
            "hashes": {"sha256": sha256_hex(content)},
            "size": len(content),
            "upload-time": moment,
        }
        for name, (content, moment) in wheels.items()
    ]
    page = json.dumps({"meta": {"api-version": "1.1"}, "name": "leaf", "files": files}).encode()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            body = wheels[name][0] if name in wheels else page
            self.send_response(200 if name in wheels or self.path == "/simple/leaf/" else 404)
            self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/simple"
        finally:
            server.shutdown()
            thread.join()


def test_wheels_are_chosen_by_the_day_that_the_index_says(
    small: Repository, tmp_path: Path
) -> None:
    index = Index(tmp_path / "index")
    wheels = {}
    for version, moment in (("1.0", "2026-01-01T12:00:00Z"), ("2.0", "2026-02-01T23:30:00-03:00")):
        index.wheel("leaf", version)
        name = f"leaf-{version}-py3-none-any.whl"
        wheels[name] = ((tmp_path / "index/files" / name).read_bytes(), moment)
    small.spec("web", "python=3.11", pip=("leaf",))
    with dated_index(wheels) as url:
        small.variables = {"UV_DEFAULT_INDEX": url, "PIP_CONFIG_FILE": "/dev/null"}
        small.variables["UV_CACHE_DIR"] = str(tmp_path / "uv")
        on(small, "2026-02-05", "{cooldown: 7}")
        small.locked("web")
        assert small.versions("web")["leaf"] == "1.0"
        on(small, "2026-02-10")
        small.locked("web", LockChoices(packages=frozenset({"leaf"})))
    assert small.versions("web")["leaf"] == "2.0"
    assert small.read("web").image.released["leaf-2.0-py3-none-any.whl"] == "2026-02-02", "UTC"
