"""What is taken out of URLs before anybody sees them (X8)."""

from __future__ import annotations

import pytest

from envsync.model.channels import strip_credentials
from envsync.model.places import carries_credentials, redacted, without_secrets
from tests.reliability.counts import count

SECRET = "canary"
WITH_SECRETS = (
    "https://me:canary@host.test/channel",
    "https://canary@host.test/channel",
    "https://me:ca@canary@host.test/channel",
    "https://me:@canary@host.test/channel",
    "https://me:ca/canary@host.test/channel",
    "https://me:ca?canary@host.test/channel",
    "https://me:ca#canary@host.test/channel",
    "https://me:canary@[::1]:8080/channel",
    "https://host.test:443@canary@evil.test/channel",
    "https://host.test/t/canary/channel",
    "https://me:canary@host.test/t/canary/channel",
    "ssh://me:canary@host.test/team.git",
    "git+https://me:canary@host.test/team.git",
)
WITHOUT = (
    "https://host.test/channel",
    "https://host.test:8080/pkg@1.0",
    "https://[::1]:8080/pkg@1.0",
    "file:///folder/a@b/c",
)


@pytest.mark.parametrize("url", WITH_SECRETS)
def test_no_part_of_a_login_is_left_in_a_url(url: str) -> None:
    said = f"fatal: '{url}': failed (url: {url}), see \"{url}\""
    for text in (strip_credentials(url), without_secrets(said), redacted(url)):
        assert SECRET not in text
        assert "me:" not in text
    assert "host.test" in without_secrets(url) or "evil.test" in without_secrets(url) or "[" in url
    assert carries_credentials(url)
    count("X8", **{"spellings of a login in a URL": 1})


@pytest.mark.parametrize("url", WITHOUT)
def test_a_url_without_a_login_stays_as_it_is(url: str) -> None:
    assert strip_credentials(url) == url
    assert without_secrets(f"'{url}' is not there") == f"'{url}' is not there"


def test_what_a_signature_opens_is_not_told() -> None:
    said = "HTTP status 403 for url (https://store.test/a.conda?sig=canary&se=1), giving up"
    assert without_secrets(said) == (
        "HTTP status 403 for url (https://store.test/a.conda?…), giving up"
    )
