"""envsync as a library: values in, values out; nothing printed, nothing read from the outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import envsync
from envsync import BuildContext, CondaDependencies, Environment, InvalidInput, StalePlan
from envsync.model.spec import InferenceConfig, Route, Settings
from tests.parts.gitremote import GitRepository
from tests.team import Team

PAGE = Path(envsync.__file__).parent.parent / "docs" / "library.md"


@pytest.fixture
def client(folder_team: Team) -> envsync.Client:
    """A client of an empty repository whose settings name the channel of tiny packages."""
    folder_team.settings(f"channels: ['{folder_team.channel.as_uri()}']\n")
    folder_team.repository.commit("channel")
    environ = {**os.environ, "ENVSYNC_CACHE_DIR": str(folder_team.cache)}
    return envsync.Client(folder_team.repository.path, environ=environ)


def tiny(*names: str) -> CondaDependencies:
    return CondaDependencies(conda_packages=list(names))


# Importing


def test_importing_envsync_loads_next_to_nothing() -> None:
    probe = "import sys, envsync; print(*sorted(n for n in sys.modules if n.startswith('envsync')))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["envsync"]


def test_a_client_loads_no_heavy_library_before_it_is_used() -> None:
    probe = (
        "import sys, envsync; envsync.Client('.'); envsync.Environment(name='a');"
        "print(*sorted({n.split('.')[0] for n in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    heavy = {"rattler", "httpx", "httpcore", "git", "docker", "conda_lock", "rich", "click", "uv"}
    assert heavy & set(done.stdout.split()) == set()


def test_every_public_name_is_there_and_documented() -> None:
    for name in envsync.__all__:
        value = getattr(envsync, name)
        if name != "__version__":
            assert value.__doc__, name
    assert set(envsync.__all__) == set(dir(envsync))
    with pytest.raises(AttributeError, match="no attribute 'zzz'"):
        envsync.zzz  # noqa: B018


# Conda files


def test_conda_dependencies_are_written_as_a_conda_file() -> None:
    packages = CondaDependencies(variables={"A": "1"})
    packages.add_channel("conda-forge")
    packages.add_channel("conda-forge")
    packages.add_conda_package("python=3.11")
    packages.add_conda_package("numpy")
    packages.add_pip_package("flask[async]>=3")
    assert packages.serialize_to_string() == (
        "channels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - numpy\n  - pip:\n"
        '      - "flask[async]>=3"\nvariables:\n  A: "1"\n'
    )


def test_a_package_takes_the_place_of_an_earlier_one_of_its_name() -> None:
    packages = tiny("python=3.10", "numpy")
    packages.add_conda_package("conda-forge::Python=3.11")
    packages.add_pip_package("Flask==2")
    packages.add_pip_package("--pre")
    packages.add_pip_package("flask>=3")
    assert packages.conda_packages == ["conda-forge::Python=3.11", "numpy"]
    assert packages.pip_packages == ["flask>=3", "--pre"]


@pytest.mark.parametrize(
    ("add", "text", "words"),
    [
        ("add_channel", "https://me:secret@conda.example/x", "holds a user"),
        ("add_channel", "two words", "is not a channel"),
        ("add_conda_package", "numpy=>1", "is not an operator"),
        ("add_conda_package", "", "is empty"),
        ("add_pip_package", "numpy=1", "has one '='"),
        ("add_pip_package", "conda-forge::numpy", "names a conda channel"),
    ],
)
def test_what_cannot_stand_in_a_conda_file_is_refused_at_once(
    add: str, text: str, words: str
) -> None:
    packages = CondaDependencies()
    with pytest.raises(InvalidInput, match=words):
        getattr(packages, add)(text)
    assert packages == CondaDependencies()


words = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True)


@given(
    st.lists(words, unique=True, max_size=3),
    st.lists(words, min_size=1, max_size=4),
    st.lists(words, max_size=3),
    st.dictionaries(words, st.text(st.characters(codec="ascii", categories=["L", "N"]))),
)
def test_what_is_written_reads_as_the_same(
    channels: list[str], conda: list[str], pip: list[str], variables: dict[str, str]
) -> None:
    packages = CondaDependencies(
        channels=[channel for channel in channels if channel != "nodefaults"],
        conda_packages=conda,
        pip_packages=pip,
        variables=variables,
    )
    assert CondaDependencies.from_string(packages.serialize_to_string()) == packages


def test_a_conda_file_is_saved_and_read(tmp_path: Path) -> None:
    packages = tiny("python", "numpy>=2")
    path = packages.save(tmp_path / "a.yml")
    assert CondaDependencies.from_file(path) == packages
    tiny("python").save(path)
    assert CondaDependencies.from_file(path) == tiny("python")
    with pytest.raises(InvalidInput, match="There is no file"):
        CondaDependencies.from_file(tmp_path / "missing.yml")
    (tmp_path / "bad.yml").write_text("dependencies: [{numpy: 1}]\n")
    with pytest.raises(InvalidInput, match="Write numpy=1"):
        CondaDependencies.from_file(tmp_path / "bad.yml")


# Specs


def test_an_environment_is_written_and_returned_as_the_folder_says_it(
    client: envsync.Client,
) -> None:
    wanted = Environment(
        name="train",
        version="7",
        image="scratch",
        conda_file=tiny("tiny-00003"),
        description="Trains: a lot",
        tags={"team": "vision", "gpu": "no"},
        inference_config=InferenceConfig(
            liveness_route=Route(port=80, path="/"),
            readiness_route=Route(port=80, path="/ready"),
            scoring_route=Route(port=81, path="/score"),
        ),
        settings=Settings(environment_variables={"A": "1"}, user="app", platforms=("linux-64",)),
    )
    assert client.environments.create_or_update(wanted) == wanted
    assert client.environments.get("train") == wanted
    assert client.environments.get("train").made is None
    written = (client.root / "environments/train/environment.yaml").read_bytes()
    assert client.environments.create_or_update(wanted) == wanted
    assert (client.root / "environments/train/environment.yaml").read_bytes() == written


def test_changing_a_value_keeps_comments_and_the_conda_file(client: envsync.Client) -> None:
    folder = client.root / "environments/train"
    folder.mkdir(parents=True)
    (folder / "environment.yaml").write_text(
        "# ours\nimage: scratch  # no base\nconda_file: sub/packages.yaml\ndescription: Old\n"
    )
    (folder / "sub").mkdir()
    (folder / "sub/packages.yaml").write_text("# packages\ndependencies: [tiny-00003]\n")
    found = client.environments.get("train")
    client.environments.create_or_update(replace(found, description="New", tags={"a": "b"}))
    text = (folder / "environment.yaml").read_text()
    assert "# ours" in text
    assert "# no base" in text
    assert "sub/packages.yaml" in text
    assert not (folder / "conda.yaml").exists()
    again = client.environments.get("train")
    assert again == replace(found, description="New", tags={"a": "b"})
    changed = replace(again, conda_file=tiny("tiny-00004"))
    assert client.environments.create_or_update(changed) == changed
    assert "# ours" in (folder / "environment.yaml").read_text()
    assert (folder / "conda.yaml").exists()


def test_an_inline_conda_file_outlives_a_change_of_settings(client: envsync.Client) -> None:
    folder = client.root / "environments/train"
    folder.mkdir(parents=True)
    (folder / "environment.yaml").write_text(
        "image: scratch\nconda_file: {dependencies: [tiny-00003]}\n"
    )
    found = client.environments.get("train")
    wanted = replace(found, settings=Settings(user="app", platforms=("linux-64",)))
    assert client.environments.create_or_update(wanted) == wanted


def test_a_program_cannot_lose_constraints(client: envsync.Client) -> None:
    folder = client.root / "environments/train"
    folder.mkdir(parents=True)
    (folder / "environment.yaml").write_text("image: scratch\nconda_file: conda.yaml\n")
    (folder / "conda.yaml").write_text("dependencies: [python, {pip: [a, -c limits.txt]}]\n")
    (folder / "limits.txt").write_text("a<2\n")
    found = client.environments.get("train")
    client.environments.create_or_update(replace(found, description="same packages"))
    with pytest.raises(InvalidInput, match="names a file of constraints"):
        client.environments.create_or_update(replace(found, conda_file=tiny("tiny-00003")))


def test_a_conda_file_of_elsewhere_is_copied_with_what_it_names(
    client: envsync.Client, tmp_path: Path
) -> None:
    (tmp_path / "mine.yml").write_text("dependencies: [python, {pip: [-r more.txt]}]\n")
    (tmp_path / "more.txt").write_text("flask\n")
    made = client.environments.create_or_update(
        Environment(name="train", image="scratch", conda_file=tmp_path / "mine.yml")
    )
    assert isinstance(made.conda_file, CondaDependencies)
    assert made.conda_file.pip_packages == ["flask"]
    assert sorted(path.name for path in (client.root / "environments/train").iterdir()) == [
        "conda.yaml",
        "environment.yaml",
        "more.txt",
    ]


def test_a_conda_file_may_be_a_dict(client: envsync.Client) -> None:
    made = client.environments.create_or_update(
        Environment(
            name="train",
            image="scratch",
            conda_file={"name": "x", "dependencies": ["python=3.11", {"pip": ["flask"]}]},
        )
    )
    assert made.conda_file == CondaDependencies(
        conda_packages=["python=3.11"], pip_packages=["flask"]
    )


def test_a_build_context_is_a_folder_of_the_repository(client: envsync.Client) -> None:
    (client.root / "docker").mkdir()
    (client.root / "docker/Dockerfile").write_text("FROM scratch\n")
    wanted = Environment(name="train", build=BuildContext(path="docker"))
    assert client.environments.create_or_update(wanted) == wanted
    text = (client.root / "environments/train/environment.yaml").read_text()
    assert text == 'name: train\nbuild:\n  path: "../../docker"\n'


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Environment(name="a b", image="x"), "is not the name"),
        (Environment(name="../up", image="x"), "is not the name"),
        (Environment(name="train"), "Neither 'image' nor 'build'"),
        (Environment(name="train", image="A B"), "not an image reference"),
        (Environment(name="train", conda_file=tiny("python")), "needs an 'image'"),
        (Environment(name="train", build=BuildContext(path="nothing")), "There is no file"),
        (Environment(name="train", image="x", conda_file={"zzz": 1}), "is not a key"),
        (Environment(name="train", image="x", conda_file={"name": object()}), "cannot stand"),
        (Environment(name="AzureML-x", image="x"), "reserved"),
    ],
)
def test_what_is_not_valid_is_refused_and_nothing_written(
    client: envsync.Client, wanted: Environment, words: str
) -> None:
    before = sorted(client.root.rglob("*"))
    with pytest.raises(InvalidInput, match=words):
        client.environments.create_or_update(wanted)
    assert sorted(client.root.rglob("*")) == before


# The whole way


def test_from_a_value_to_an_image_and_back(
    client: envsync.Client, folder_team: Team, capfd: pytest.CaptureFixture[str]
) -> None:
    environments = client.environments
    wanted = Environment(name="train", image="scratch", conda_file=tiny("tiny-00003"))
    environments.create_or_update(wanted)
    assert client.validate().faults == ()
    assert client.lock().exit_code == 0
    folder_team.repository.commit("train")
    plan = client.plan()
    assert [e.name for e in plan.changing] == ["train"]
    outcome = client.apply(plan=plan)
    assert outcome.exit_code == 0
    assert not client.plan().changing
    first = environments.get("train", version="1")
    assert first == wanted
    assert first.made is not None
    assert first.made.digest == outcome.results[0].digest
    assert first.made.image.endswith("/train:1")
    assert "tiny-00003" in {package.name for package in first.made.packages["linux-64"]}
    environments.create_or_update(replace(first, conda_file=tiny("tiny-00004")))
    client.lock("train")
    folder_team.repository.commit("another package")
    with pytest.raises(StalePlan):
        client.apply(plan=plan)
    assert [result.did for result in client.apply("train").results] == ["new_version"]
    assert [row.record.version for row in environments.list("train")] == ["2", "1"]
    assert [(r.name, r.latest.version) for r in environments.list() if r.latest] == [("train", "2")]
    latest = environments.get("train", label="latest")
    assert latest.made is not None
    assert latest.made.version == "2"
    with pytest.raises(InvalidInput, match="the only label is latest"):
        environments.get("train", label="prod")
    with pytest.raises(InvalidInput, match="It has: 1, 2"):
        environments.get("train", version="3")
    assert capfd.readouterr() == ("", "")


def test_archived_versions_are_hidden_and_can_be_restored(
    client: envsync.Client, folder_team: Team
) -> None:
    folder_team.ask("train", "tiny-00003")
    assert client.apply().exit_code == 0
    flagged = client.environments.archive("train", version="1")
    assert (flagged.archived, flagged.latest) == (True, "")
    assert client.environments.list("train") == ()
    assert len(client.environments.list("train", include_archived=True)) == 1
    archived = client.environments.get("train", version="1").made
    assert archived is not None
    assert archived.archived
    client.environments.restore("train", version="1")
    assert len(client.environments.list("train")) == 1
    client.environments.archive("train")
    assert client.environments.list() == ()
    client.environments.restore("train")
    assert [row.name for row in client.environments.list()] == ["train"]


def test_a_broken_environment_is_in_the_report_and_blocks_no_other(
    client: envsync.Client, folder_team: Team
) -> None:
    folder_team.spec("good", "tiny-00003")
    folder_team.spec("bad", "tiny-00003", text="zzz: 1")
    report = client.lock()
    assert [(one.name, one.outcome) for one in report.environments] == [
        ("bad", "failed"),
        ("good", "locked"),
    ]
    assert client.validate().broken == ("bad",)


def test_another_registry_than_the_settings_name(
    client: envsync.Client, folder_team: Team, registry: object
) -> None:
    from tests.parts.registry import Registry

    assert isinstance(registry, Registry)
    folder_team.ask("train", "tiny-00003")
    where = f"{registry.host}/team/other"
    with envsync.Client(
        client.root, registry=where, environ={"ENVSYNC_CACHE_DIR": str(folder_team.cache)}
    ) as other:
        assert other.plan().registry == registry.host
        assert other.apply().exit_code == 0
        made = other.environments.get("train").made
        assert made is not None
        assert made.image == f"{where}/train:1"


# Documentation


def test_the_code_of_the_page_runs(
    repository: GitRepository,
    small_channel: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    repository.commit("empty", {"README.md": "a team\n"})
    monkeypatch.chdir(repository.path)
    monkeypatch.setenv("ENVSYNC_CACHE_DIR", str(tmp_path / "cache"))
    (repository.path / ".gitignore").write_text("/.envsync/\n")
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 7
    # The page speaks of conda-forge; a channel that is here takes its place.
    code = "\n".join(blocks).replace("conda-forge", small_channel.as_uri())
    exec(compile(code, str(PAGE), "exec"), {})
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
