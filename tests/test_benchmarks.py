"""The benchmarks run; how fast they are is nobody's test."""

from __future__ import annotations

import gzip
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import again, build, page, standin
from benchmarks.__main__ import main, modules
from benchmarks.chart import draw
from benchmarks.checkout import checkout
from benchmarks.measure import Candidate, Measured, Usage, observed
from benchmarks.naive import put_on_top
from benchmarks.report import Bar, Table, as_markdown, as_text, bars_of
from benchmarks.rows import ROWS
from benchmarks.start import measure
from benchmarks.verdict import Verdict, judge
from tests.parts.layout import PlatformImage, tar_of, write_layout
from tests.parts.process import tool
from tests.parts.registry import run_registry

NOTHING = Usage(wall=0.0, cpu=0.0, memory=0)


def _row(name: str, wall: float, **others: object) -> Measured:
    usage = Usage(wall=wall, cpu=0.5, memory=20_000_000, requests=4, stored=1234)
    changes = {key: value for key, value in others.items() if key not in ("rank",)}
    usage = replace(usage, **changes)  # type: ignore[arg-type]
    candidate = Candidate(name=name, command=f"{name} --all", run=lambda: usage)
    if rank := others.get("rank"):
        candidate = replace(candidate, rank=rank)  # type: ignore[arg-type]
    return Measured(candidate=candidate, usage=usage, runs=5)


def _table(*rows: Measured, **facts: float) -> Table:
    return Table(title="Work", rows=rows, facts=facts)


def test_the_quickest_benchmark_measures_every_command_once() -> None:
    (table,) = measure(1, 0)
    names = [row.candidate.name for row in table.rows]
    assert {"envsync --help", "envsync --version", "python -c pass"} <= {*names}
    for row in table.rows:
        assert row.usage.cpu > 0
        assert row.usage.wall > 0
        assert row.usage.memory > 1_000_000
        assert row.usage.requests is None


def test_a_table_divides_by_our_own_row_and_names_who_is_faster() -> None:
    table = _table(_row("ours", 2.0), _row("slow", 14.0), _row("fast", 1.0))
    text = as_text(table)
    assert "We lose in wall time against: fast." in text
    assert [line.split()[1] for line in text.splitlines() if line.startswith("slow ")] == ["7"]
    assert "| slow | 7 × | 1 × | 20 MB | 4 | 1,234 B |  | 14.00 |" in as_markdown(table)


def test_what_a_registry_sends_is_counted_from_its_own_log() -> None:
    with run_registry() as registry:

        def ask() -> Usage:
            words = [tool("curl"), "--silent", "--fail", f"{registry.url}/v2/_catalog"]
            subprocess.run(words, check=True, capture_output=True)
            return NOTHING

        usage = observed(registry, ask)
    assert (usage.requests, usage.stored) == (1, 0)
    assert usage.read == len('{"repositories":[]}\n')


def test_an_empty_machine_leaves_the_cache_as_it_was() -> None:
    with checkout() as place:
        place.cache.mkdir(parents=True)
        (place.cache / "warm").write_text("kept")
        with place.empty_machine():
            assert not place.cache.exists()
            place.cache.mkdir(parents=True)
            (place.cache / "cold").write_text("gone")
        assert [path.name for path in place.cache.iterdir()] == ["warm"]


def test_the_rows_are_p1_to_p14_and_each_has_a_module_that_measures() -> None:
    assert [row.id for row in ROWS] == [f"P{number}" for number in range(1, 15)]
    folder = Path(page.__file__).parent
    assert all((folder / f"{module}.py").exists() for module in modules([row.id for row in ROWS]))
    assert modules(["P14", "P5", "P1"]) == ["plan", "images"]


def test_a_row_that_does_not_exist_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["p5", "P15"])
    assert "there is no row P15; there are P1, P2" in capsys.readouterr().err


def test_a_target_is_reached_only_if_every_one_of_its_numbers_holds() -> None:
    rows = [_row("envsync apply", 10.0), _row(build.TAR, 45.0), _row(build.LIMIT, 8.0)]
    good = judge("P5", [_table(*rows, _row(build.DOCKER, 61.0))], 0)
    assert good.verdict == "reached"
    assert good.reached == (
        "6.1 × Dockerfile with installer; 4.5 × install, tar, gzip, skopeo; 1.2 × the limit"
    )
    bad = judge("P5", [_table(*rows, _row(build.DOCKER, 59.0))], 0)
    assert bad.verdict == (
        "missed: 5.9 × Dockerfile with installer. The limit takes: 8.00 of 10.00 s"
    )


def test_a_number_that_could_not_be_had_is_no_success() -> None:
    table = _table(_row("envsync lock", 0.5), _row(standin.NAME, 2.0))
    found = judge("P2", [table], 0)
    assert found.reached == f"4 × {standin.NAME}"
    assert found.verdict == "no verdict: conda, mamba and micromamba could not be had"
    with_peer = _table(*table.rows, _row("conda-lock, micromamba", 1.4))
    assert judge("P2", [with_peer], 0).verdict == "missed: 2.8 × conda-lock, micromamba"


def test_a_plan_of_fewer_environments_is_no_proof_for_a_thousand() -> None:
    rows = [
        _row("envsync plan", 1.0, requests=400),
        _row("skopeo", 150.0),
        _row("curl", 0.8, rank="limit"),
    ]
    few = "200 environments, not 1,000"
    assert judge("P1", [_table(*rows)], 200).verdict == f"no verdict: {few}"
    slow = [rows[0], _row("skopeo", 90.0), rows[2]]
    assert judge("P1", [_table(*slow)], 200).verdict.startswith(f"missed: 90 × skopeo; {few}")
    rows[0] = _row("envsync plan", 1.0, requests=2000)
    assert judge("P1", [_table(*rows)], 1000).verdict == "reached"
    rows[0] = _row("envsync plan", 1.0, requests=2500)
    assert judge("P1", [_table(*rows)], 1000).verdict.startswith("missed: 2.5 requests each")


@pytest.mark.parametrize(
    ("row", "good", "bad"),
    [
        (
            "P3",
            _table(_row("one run", 1.0), _row("50 runs", 5.1)),
            _table(_row("one run", 1.0), _row("50 runs", 4.9)),
        ),
        (
            "P4",
            _table(_row("envsync lock --check", 0.9), _row("conda-lock, a loop", 9.0)),
            _table(_row("envsync lock --check", 1.1), _row("conda-lock, a loop", 9.0)),
        ),
        (
            "P6",
            _table(_row("x", 1.0, stored=5_500_000), _row(build.DOCKER, 51.0), changed=5e6),
            _table(_row("x", 1.0, stored=5_600_000), _row(build.DOCKER, 51.0), changed=5e6),
        ),
        (
            "P7",
            _table(_row("x", 1.0, stored=6_000_000), _row(build.DOCKER, 31.0), new=6e6),
            _table(_row("x", 1.0, stored=6_000_000), _row(build.DOCKER, 29.0), new=6e6),
        ),
        (
            "P8",
            _table(_row("x", 1.0), _row(build.DOCKER, 101.0), uploads=1),
            _table(_row("x", 1.0), _row(build.DOCKER, 101.0), uploads=2),
        ),
        (
            "P9",
            _table(_row("x", 1.0), _row(again.SKOPEO, 3.1)),
            _table(_row("x", 1.0), _row(again.SKOPEO, 2.9), _row(build.LIMIT, 0.9)),
        ),
        ("P10", _table(small=0.25, large=0.29), _table(small=0.25, large=0.31)),
        (
            "P11",
            _table(_row("one", 1.0), _row("two", 1.5), shared=3),
            _table(_row("one", 1.0), _row("two", 1.5), shared=0),
        ),
        (
            "P12",
            _table(
                _row("ten", 1.0, memory=120_000_000),
                _row("one", 1.0, memory=100_000_000),
                **{"largest file": 1e6},
            ),
            _table(
                _row("ten", 1.0, memory=140_000_000),
                _row("one", 1.0, memory=100_000_000),
                **{"largest file": 1e6},
            ),
        ),
        (
            "P13",
            _table(
                _row("envsync --version", 0.2),
                _row("envsync --help", 0.3),
                _row("python -c pass", 0.1),
            ),
            _table(
                _row("envsync --version", 0.2),
                _row("envsync --help", 0.4),
                _row("python -c pass", 0.1),
            ),
        ),
        (
            "P14",
            _table(_row("envsync", 1.0, read=19), _row(build.DOCKER, 1.0, read=100)),
            _table(_row("envsync", 1.0, read=21), _row(build.DOCKER, 1.0, read=100)),
        ),
    ],
)
def test_a_verdict_turns_at_its_bound(row: str, good: Table, bad: Table) -> None:
    assert judge(row, [good], 0).verdict == "reached"
    assert judge(row, [bad], 0).verdict.startswith("missed: ")


def test_a_page_keeps_the_rows_that_were_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "DOCS", tmp_path)
    verdict = Verdict(reached="7 ×", verdict="reached")
    first = Table(title="First", rows=(_row("ours", 1.0),))
    page.write("P13", [replace(first, title="Second")], verdict, ["a machine"])
    page.write("P3", [first, first], verdict, ["a machine"])
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert text.index("### First") < text.index("### Second")
    assert "| 7 × | reached |" in text
    assert text.count("not measured |") == len(ROWS) - 2
    page.write("P3", [replace(first, title="New")], verdict, ["a machine"])
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "### Second" in text
    assert "### New" in text
    assert "### First" not in text
    charts = {path.name for path in (tmp_path / "benchmarks").glob("*.svg")}
    assert charts == {"P3-1.svg", "P13-1.svg"}
    assert all(f"(benchmarks/{name})" in text for name in charts)


def test_a_chart_is_xml_with_a_bar_for_every_row_and_lengths_in_proportion() -> None:
    table = _table(_row("a < b", 2.0), _row("peer", 4.0), _row("floor", 0.0, rank="limit"))
    chart = ET.fromstring(draw("Seconds & more", bars_of(table), "s"))
    rects = chart.findall("{http://www.w3.org/2000/svg}rect")
    widths = [float(rect.attrib["width"]) for rect in rects]
    assert [rect.attrib["class"] for rect in rects] == ["ours", "peer", "limit"]
    assert widths[1] == 2 * widths[0]
    assert widths[2] == 1.0
    texts = [text.text for text in chart.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a < b", "2.00 s", "4.00 s"} <= {*texts}


def test_a_chart_has_room_for_its_longest_label() -> None:
    label = "a layer a package, however many there are of them"
    chart = ET.fromstring(draw("Room", [Bar(label=label, value=1.0)], "s"))
    (rect,) = chart.findall("{http://www.w3.org/2000/svg}rect")
    assert float(rect.attrib["x"]) > 7 * len(label)
    assert float(chart.attrib["width"]) > float(rect.attrib["x"]) + float(rect.attrib["width"])


def test_a_chart_of_nothing_is_still_a_chart() -> None:
    assert ET.fromstring(draw("Nothing", [], "s")).tag.endswith("svg")
    assert "0.00 MB" in draw("Zero", [Bar(label="zero", value=0.0)], "MB")


def test_a_layer_of_tar_and_gzip_makes_an_image_that_unpacks(tmp_path: Path) -> None:
    layout = tmp_path / "base"
    layout.mkdir()
    below = PlatformImage(architecture="amd64", layers=[tar_of({"bin/below": b"below"})])
    write_layout(layout, [below])
    layer = tmp_path / "layer.tar.gz"
    layer.write_bytes(gzip.compress(tar_of({"opt/env/file": b"content"})))
    put_on_top(layout, layer)
    assert not layer.exists()
    unpacked = tmp_path / "unpacked"
    words = [tool("umoci"), "unpack", "--image", f"{layout}:latest", str(unpacked)]
    subprocess.run(words, check=True, capture_output=True)
    assert (unpacked / "rootfs/opt/env/file").read_bytes() == b"content"
    assert (unpacked / "rootfs/bin/below").read_bytes() == b"below"
