"""The benchmarks run; how fast they are is nobody's test."""

from __future__ import annotations

from benchmarks.measure import Candidate, Measured, Usage
from benchmarks.page import update
from benchmarks.report import Table, as_markdown, as_text
from benchmarks.start import measure


def _row(name: str, wall: float) -> Measured:
    usage = Usage(wall=wall, cpu=0.5, memory=20_000_000, requests=4, stored=1234)
    return Measured(
        candidate=Candidate(name=name, command=f"{name} --all", run=lambda: usage),
        usage=usage,
        runs=5,
    )


def test_the_quickest_benchmark_measures_every_command_once() -> None:
    (table,) = measure(1, 0)
    assert [row.candidate.name for row in table.rows[:2]] == ["envsync --help", "envsync --version"]
    for row in table.rows:
        assert row.usage.cpu > 0
        assert row.usage.wall > 0
        assert row.usage.memory > 1_000_000
        assert row.usage.requests is None


def test_a_table_divides_by_our_own_row_and_names_who_is_faster() -> None:
    table = Table(title="Work", rows=(_row("ours", 2.0), _row("slow", 14.0), _row("fast", 1.0)))
    text = as_text(table)
    assert "We lose in wall time against: fast." in text
    assert [line.split()[1] for line in text.splitlines() if line.startswith("slow ")] == ["7"]
    assert "| slow | 7 × | 1 × | 20 MB | 4 | 1,234 B | 14.00 |" in as_markdown(table)


def test_a_page_keeps_the_sections_that_were_not_measured_again() -> None:
    first = Table(title="First", rows=(_row("ours", 1.0),))
    second = Table(title="Second", rows=(_row("ours", 1.0),))
    order = ["start", "plan"]
    page = update("", {"plan": [first], "start": [second]}, order, ["a machine"])
    assert page.index("### Second") < page.index("### First")
    again = update(page, {"plan": [Table(title="New", rows=first.rows)]}, order, ["a machine"])
    assert "### Second" in again
    assert "### New" in again
    assert "### First" not in again
    assert update(again, {}, order, []) == again
