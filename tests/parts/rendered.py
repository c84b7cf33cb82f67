"""HTML that a renderer made of a comment, taken apart: what is in it, and what is said in words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from cmarkgfm.cmark import Options, markdown_to_html_with_extensions

GITHUB = ("table", "autolink", "strikethrough", "tagfilter", "tasklist")
"""The extensions of GitHub Flavored Markdown: https://github.github.com/gfm/"""

HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
"""Controls, escapes, and what cannot be seen or changes the direction of text."""

OBEYED = re.compile(r"@\w|#\d|https?:|www\.|GH-\d|[~%$]\w|\b[0-9a-f]{40}\b")
"""What forges make something of where it stands in words."""

_PLAIN = {
    "h2", "h3", "p", "strong", "ul", "li", "code", "pre", "table", "thead", "tbody", "tr", "th",
    "td", "details", "summary",
}  # fmt: skip


def github_html(text: str) -> str:
    """Render as cmark-gfm does, with raw HTML kept: GitHub's sanitizer is not counted on."""
    html: str = markdown_to_html_with_extensions(
        text,
        options=Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_GITHUB_PRE_LANG,
        extensions=list(GITHUB),
    )
    return html


@dataclass(slots=True)
class Rendered:
    """What a renderer made."""

    tags: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    """Texts outside of code."""
    text: str = ""
    """All text, code too."""
    tables: list[list[int]] = field(default_factory=list)
    """Of each table the cells of its rows."""

    def faults(self) -> list[str]:
        """Return what a comment must not have."""
        found = [f"<{tag}>" for tag in self.tags if tag not in _PLAIN]
        found += [f"attribute {one}" for one in self.attributes]
        found += [f"comment {one}" for one in self.comments if not _MARK.fullmatch(one)]
        found += [f"in words: {one!r}" for one in self.words if OBEYED.search(one)]
        found += [f"hidden: {one!r}" for one in HIDDEN.findall(self.text)]
        found += [f"uneven table {rows}" for rows in self.tables if len(set(rows)) != 1]
        if len(self.comments) != 1:
            found.append(f"{len(self.comments)} marks")
        return found


_MARK = re.compile(r" envsync plan [0-9a-f]{16} of [0-9a-f]{12} ")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found = Rendered()
        self._code = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.tags.append(tag)
        self.found.attributes += [f"{tag} {name}={value}" for name, value in attrs]
        self._code += tag == "code"
        if tag == "table":
            self.found.tables.append([])
        elif tag == "tr":
            self.found.tables[-1].append(0)
        elif tag in {"td", "th"}:
            self.found.tables[-1][-1] += 1

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag == "code"

    def handle_data(self, data: str) -> None:
        self.found.text += data
        if not self._code:
            self.found.words.append(data)

    def handle_comment(self, data: str) -> None:
        self.found.comments.append(data)

    def handle_decl(self, decl: str) -> None:
        self.found.tags.append(f"!{decl}")

    def handle_pi(self, data: str) -> None:
        self.found.tags.append(f"?{data}")

    def unknown_decl(self, data: str) -> None:
        self.found.tags.append(f"![{data}")


def rendered(html: str) -> Rendered:
    """Take HTML apart."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.found
