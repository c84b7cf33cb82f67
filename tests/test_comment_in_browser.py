"""The comment in a real browser (X12): whatever a branch says, nothing is requested or runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from envsync.planning.plan_markdown import plan_markdown
from tests.parts.browser import browser, show
from tests.parts.rendered import github_html, rendered
from tests.reliability.counts import count
from tests.test_plan_markdown import PARSER, PAYLOADS, hostile


def fires(number: int) -> str:
    """Return a script that leaves a mark in the document."""
    return f"document.documentElement.setAttribute('data-fired-{number}',1)"


RUNS = (
    f"<script>{fires(0)}</script>",
    f"<img src=x onerror={fires(1)}>",
    f'<svg onload="{fires(2)}"></svg>',
    f'<details open ontoggle="{fires(3)}">x</details>',
    f'<input autofocus onfocus="{fires(4)}">',
)
REQUESTS = (
    "<img src=http://evil.example/a.png>",
    "<script src=http://evil.example/a.js></script>",
    "<link rel=stylesheet href=http://evil.example/a.css>",
    "<style>@import url(http://evil.example/b.css);</style>",
    "<p style='background:url(http://evil.example/b.png)'>x</p>",
    "<iframe src=http://evil.example/frame></iframe>",
    "<object data=http://evil.example/object></object>",
    "<video src=http://evil.example/video autoplay></video>",
)
LEAVES = "<meta http-equiv=refresh content='0; url=http://evil.example/away'>"
ESCAPES = (
    "![x](http://evil.example/c.png)",
    "``` <img src=http://evil.example/d.png>",
    "`` ` <img src=http://evil.example/e.png> ` ``",
    "|<img src=http://evil.example/f.png>|",
    "\\`<img src=http://evil.example/g.png>\\`",
    "</details></td></table><img src=http://evil.example/h.png>",
    "--><img src=http://evil.example/i.png><!--",
)
"""What would end the code that it stands in, or be more than words outside of it."""


@pytest.fixture(autouse=True)
def installed() -> None:
    """Skip where there is no browser."""
    browser()


def page(folder: Path, *comments: str) -> Path:
    """Write a page of comments as renderers made them, with raw HTML kept."""
    path = folder / "page.html"
    articles = "".join(f"<article>{comment}</article>\n" for comment in comments)
    text = f"<!doctype html><html><head><meta charset=utf-8></head><body>{articles}</body></html>"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_browser_requests_and_runs_nothing(tmp_path: Path) -> None:
    payloads = (*PAYLOADS, *RUNS, *REQUESTS, LEAVES, *ESCAPES)
    texts = [plan_markdown(hostile(payload)) for payload in payloads]
    comments = [render(text) for text in texts for render in (github_html, PARSER.render)]
    shown = show(page(tmp_path, *comments), tmp_path / "profile")
    assert shown.requests == []
    assert "data-fired" not in shown.html.partition("<body")[0]
    articles = [text.partition("</article>")[0] for text in shown.html.split("<article>")[1:]]
    assert len(articles) == len(comments)
    for article in articles:
        assert rendered(article).faults() == []
    count("X12", **{"browser pages": 1, "browser comments": len(comments)})


def test_the_same_is_noticed_outside_of_code(tmp_path: Path) -> None:
    shown = show(page(tmp_path, *RUNS, *REQUESTS), tmp_path / "profile")
    for number in range(len(RUNS)):
        assert f"data-fired-{number}" in shown.html.partition("<body")[0]
    wanted = [re.search(r"http://evil.example/[\w.]+", payload) for payload in REQUESTS]
    assert all(found is not None and found[0] in str(shown.requests) for found in wanted)
    shown = show(page(tmp_path, LEAVES), tmp_path / "profile")
    assert "http://evil.example/away" in str(shown.requests)
