"""R4: registries differ; each peculiarity is got along with, or said to be in the way."""

from __future__ import annotations

import base64
import email.utils
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.registry.proxy import Asked, Proxy, Reply, errors
from tests.registry.tokens import LOGIN, TokenService, token_registry, token_service
from tests.reliability.counts import count
from tests.reliability.faults import impatient
from tests.reliability.oracle import assert_quiet, assert_sound, end_of, foreign
from tests.reliability.scenes import Stage, names_of, new, wide, wipe
from tests.team import MUTATING, Team

Ask = Callable[[], Reply]


def mounts_nothing(proxy: Proxy) -> None:
    """A mount begins an upload, as the specification allows."""
    proxy.on("POST", "?mount=", lambda asked, _: _without_query(proxy, asked))


def _without_query(proxy: Proxy, asked: Asked) -> Reply:
    return proxy._ask(replace(asked, path=urlsplit(asked.path).path))


def refuses_mounts(proxy: Proxy) -> None:
    """A mount is a method that is not allowed."""
    proxy.on("POST", "?mount=", errors(405, "UNSUPPORTED"))


def names_no_digest(proxy: Proxy) -> None:
    """No answer has the header with the digest."""
    proxy.rule(lambda _, ask: ask().having(docker_content_digest=""))


def _moved(reply: Reply, change: Callable[[str], str]) -> Reply:
    place = reply.headers.get("location", "")
    return reply.having(location=change(place)) if place else reply


def says_where_without_a_host(proxy: Proxy) -> None:
    """Where uploads go is said relative to the registry."""

    def relative(place: str) -> str:
        parts = urlsplit(place)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    proxy.rule(lambda _, ask: _moved(ask(), relative))


def says_where_with_a_host(proxy: Proxy) -> None:
    """Where uploads go is said with scheme and host."""

    def absolute(place: str) -> str:
        return place if "://" in place else f"http://{proxy.host}{place}"

    proxy.rule(lambda _, ask: _moved(ask(), absolute))


def _throttled(proxy: Proxy, pause: Callable[[], str]) -> None:
    asked_so_far, refused = [0], Counter[str]()

    def rule(asked: Asked, ask: Ask) -> Reply | None:
        asked_so_far[0] += 1
        folder = asked.path.partition("?")[0].rpartition("/")[0]
        # In step with others one request, or one of those of an upload, could always be the fourth.
        if asked_so_far[0] % 4 or refused[folder] >= 3:
            return None
        refused[folder] += 1
        return errors(429, "TOOMANYREQUESTS").having(retry_after=pause())

    proxy.rule(rule)


def throttles_in_seconds(proxy: Proxy) -> None:
    """Every fourth request is one too many; the pause is said in seconds."""
    _throttled(proxy, lambda: "7")


def throttles_until_a_date(proxy: Proxy) -> None:
    """The pause is said as a date."""
    _throttled(proxy, lambda: email.utils.formatdate(time.time() + 7, usegmt=True))


def throttles_in_words(proxy: Proxy) -> None:
    """The pause is said in words that nobody understands."""
    _throttled(proxy, lambda: "soon; perhaps")


def knows_no_ranges(proxy: Proxy) -> None:
    """A part of a blob is not to be had, only the whole."""

    def rule(asked: Asked, _: Ask) -> Reply | None:
        if "range" not in asked.headers:
            return None
        return proxy._ask(
            replace(asked, headers={k: v for k, v in asked.headers.items() if k != "range"})
        )

    proxy.rule(rule)


def adds_parameters_to_types(proxy: Proxy) -> None:
    """Media types come with a character set."""

    def rule(asked: Asked, ask: Ask) -> Reply | None:
        reply = ask()
        kind = reply.headers.get("content-type", "")
        return reply.having(content_type=f"{kind}; charset=utf-8") if kind else reply

    proxy.rule(rule)


PERSONALITIES: tuple[Callable[[Proxy], None], ...] = (
    mounts_nothing,
    refuses_mounts,
    names_no_digest,
    says_where_without_a_host,
    says_where_with_a_host,
    throttles_in_seconds,
    throttles_until_a_date,
    throttles_in_words,
    knows_no_ranges,
    adds_parameters_to_types,
)


@pytest.mark.parametrize("scene", ["new", "wide"])
@pytest.mark.parametrize("personality", PERSONALITIES, ids=lambda one: one.__name__)
def test_a_peculiar_registry_ends_up_with_the_same(
    proxied_stage: Stage, proxy: Proxy, tmp_path: Path, git_variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch, personality: Callable[[Proxy], None], scene: str,
) -> None:  # fmt: skip
    wanted = proxied_stage.end(scene, tmp_path / "undisturbed", git_variables)
    team = proxied_stage.team(scene, tmp_path / "team", git_variables)
    impatient(monkeypatch)
    personality(proxy)
    before = foreign(team)
    done = team.envsync("apply")
    assert done.code == 0, done.out + done.err
    assert end_of(team, names_of(scene)) == wanted
    assert_sound(team, names_of(scene), before)
    assert_quiet(team)
    count("R4", cases=1, passed=1)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("scene", ["new", "changed"])
def test_a_registry_that_hides_what_does_not_exist_is_not_written_to_and_told_of(
    proxied_stage: Stage, proxy: Proxy, tmp_path: Path, git_variables: dict[str, str], scene: str,
    status: int,
) -> None:  # fmt: skip
    """Nobody can tell "not there" from "not for you"; to build would be a guess (I10)."""
    team = proxied_stage.team(scene, tmp_path / "team", git_variables)

    def hides(asked: Asked, ask: Ask) -> Reply | None:
        reply = ask()
        return errors(status, "DENIED") if reply.status == 404 else reply

    proxy.forget()
    proxy.rule(hides)
    before = foreign(team), end_of(team, ["train"])
    done = team.envsync("apply")
    assert done.code == 7, done.out + done.err
    assert "its state may not be read" in done.err
    assert [asked for asked in proxy.asked if asked.method in MUTATING] == []
    assert (foreign(team), end_of(team, ["train"])) == before
    count("R4", cases=1, reported=1)


def immovable(team: Team, answer: Reply) -> Callable[[Asked, Ask], Reply | None]:
    """Refuse to move a tag that names another image."""

    def rule(asked: Asked, _: Ask) -> Reply | None:
        found = re.fullmatch(r"/v2/team/envs/(\w+)/manifests/([\w.-]+)", asked.path)
        if asked.method != "PUT" or found is None:
            return None
        return answer if found[2] in team.tags(found[1]) else None

    return rule


@pytest.mark.parametrize(
    "answer",
    [errors(409, "CONFLICT"), errors(412, "PRECONDITION"),
     errors(400, "TAG_INVALID", "The image tag is immutable")],
    ids=lambda answer: str(answer.status),
)  # fmt: skip
@pytest.mark.parametrize("scene", ["new", "changed"])
def test_a_registry_that_moves_no_tag_keeps_versions_and_says_what_it_cannot(
    proxied_stage: Stage, proxy: Proxy, tmp_path: Path, git_variables: dict[str, str], scene: str,
    answer: Reply,
) -> None:  # fmt: skip
    """A first version needs no tag moved. ``latest`` of a second does, and only that fails."""
    team = proxied_stage.team(scene, tmp_path / "team", git_variables)
    proxy.rule(immovable(team, answer))
    before = foreign(team)
    done = team.envsync("apply")
    if scene == "new":
        assert done.code == 0, done.err
        assert_quiet(team)
    else:
        assert done.code == 5, done.err
        assert "does not let the tag team/envs/train:latest move" in done.err
        assert team.versions("train") == ["1", "2"], "the version is made and recorded"
    assert_sound(team, ["train"], before)
    count("R4", cases=1, **({"passed": 1} if scene == "new" else {"reported": 1}))


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[tuple[TokenService, str]]:
    """A registry that believes the tokens of a service, both real."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    with token_service(folder) as service, token_registry(folder, service) as host:
        yield service, host


@pytest.mark.parametrize("stale", [1], ids=lambda stale: f"{stale} stale")
@pytest.mark.parametrize("setting", [new, wide], ids=lambda setting: setting.__name__)
def test_tokens_that_run_out_in_the_middle_are_replaced(
    server_stage: Stage, tokens: tuple[TokenService, str], tmp_path: Path,
    git_variables: dict[str, str], setting: Callable[[Team], None], stale: int,
) -> None:  # fmt: skip
    service, host = tokens
    team = server_stage.team("empty", tmp_path / "team", git_variables, lambda _: None)
    wipe(team)
    pair = base64.b64encode(":".join(LOGIN).encode()).decode()
    config: Mapping[str, object] = {"auths": {host: {"auth": pair}}}
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    team.variables["DOCKER_CONFIG"] = str(folder)
    team.address = host
    team.settings()
    team.repository.commit("another registry")
    setting(team)
    service.stale = stale
    done = team.envsync("apply")
    assert done.code == 0, done.out + done.err
    assert service.stale == 0, "the tokens that had run out were given"
    assert "Nothing to do" in team.envsync("apply").out
    assert LOGIN[1] not in done.out + done.err
    assert not any(token in done.out + done.err for token in service.given), "I9"
    count("R4", cases=1, passed=1)
