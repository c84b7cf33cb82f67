"""A chart of horizontal bars as SVG, readable on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from benchmarks.report import Bar

_BARS, _ROW, _BAR, _TOP, _NUMBERS = 420, 26, 16, 40, 110
_LETTER = 7.4
"""More than the mean width of a letter, so that no label is cut off."""
_STYLE = """\
text{font:13px system-ui,sans-serif;fill:#1f2328}
.title{font-weight:600}
.ours{fill:#0969da}.peer{fill:#8c959f}.limit{fill:#1a7f37}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}
.ours{fill:#4493f8}.peer{fill:#7d8590}.limit{fill:#3fb950}
}"""


def draw(title: str, bars: Sequence[Bar], unit: str) -> str:
    """Return the chart; lengths are linear and begin at zero."""
    labels = round(_LETTER * max((len(bar.label) for bar in bars), default=0)) + 16
    width, height = labels + _BARS + _NUMBERS, _TOP + _ROW * len(bars) + 8
    width = max(width, round(_LETTER * (len(title) + len(unit) + 4)) + 16)
    most = max((bar.value for bar in bars), default=0.0) or 1.0
    box = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="8" y="20">{escape(title)}, {escape(unit)}</text>',
    ]
    for number, bar in enumerate(bars):
        top = _TOP + _ROW * number
        # A bar too short to be seen would look like one that is missing.
        length = max(1.0, bar.value / most * _BARS)
        line = top + _BAR - 3
        place = f'x="{labels}" y="{top}" width="{length:.1f}" height="{_BAR}"'
        value = f"{_number(bar.value)} {escape(unit)}"
        lines += [
            f'<text x="{labels - 8}" y="{line}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect class="{bar.kind}" {place} rx="2"/>',
            f'<text x="{labels + length + 6:.1f}" y="{line}">{value}</text>',
        ]
    return "\n".join([*lines, "</svg>\n"])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
