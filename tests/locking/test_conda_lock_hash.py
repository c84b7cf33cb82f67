from __future__ import annotations

from pathlib import Path

import pytest

from envsync.adapters.files.strict_yaml import parse_document
from envsync.adapters.locks.conda_lock_hash import _by_conda_lock, _specs, content_hashes
from envsync.errors import InvalidInput
from envsync.model.channels import strip_credentials
from envsync.model.conda_file_reader import read_conda_file
from envsync.model.document import Faults
from envsync.model.names import PLATFORMS
from envsync.model.spec import CondaFile


def requests(folder: Path) -> list[CondaFile]:
    found = []
    for path in sorted(folder.rglob("*.y*ml")):
        faults = Faults()
        root = parse_document(path.read_bytes(), path.name, faults)
        if root is None:
            continue
        draft = read_conda_file(root, faults, path=path.name)
        pip = tuple(line.text for line in draft.pip)
        if draft.file.dependencies:
            found.append(
                CondaFile(
                    channels=draft.file.channels, dependencies=draft.file.dependencies, pip=pip
                )
            )
    return found


def test_what_is_hashed_here_has_the_hash_that_conda_lock_gives_it(shared_data: Path) -> None:
    both = [*requests(shared_data / "conda-envs"), *requests(shared_data / "azureml")]
    simple = [conda for conda in both if _specs(conda) is not None]
    assert len(simple) > 300
    for conda in simple[::3]:
        ours = content_hashes(conda, conda.channels, PLATFORMS)
        assert ours == _by_conda_lock(conda, conda.channels, PLATFORMS), conda


@pytest.mark.parametrize(
    "channel",
    ["conda-forge/label/dev", "defaults", "https://host.test:8443/team/main", "file:///srv/channel",
     "http://host.test/a/", "https://host.test/t/abc/main", "https://me:secret@host.test/main"],
)  # fmt: skip
def test_channels_are_hashed_as_conda_lock_does(channel: str) -> None:
    conda = CondaFile(channels=(channel,), dependencies=("python",))
    bare = strip_credentials(channel)
    assert content_hashes(conda, (channel,), PLATFORMS) == _by_conda_lock(conda, [bare], PLATFORMS)


def test_unusual_spellings_are_left_to_conda_lock() -> None:
    conda = CondaFile(dependencies=("numpy[version='>=1', build='py*']",), pip=("a~=1.2",))
    assert _specs(conda) is None
    assert content_hashes(conda, ("conda-forge",), ("linux-64",)) == _by_conda_lock(
        conda, ("conda-forge",), ("linux-64",)
    )


def test_a_dependency_that_conda_lock_cannot_read_is_an_error_in_words() -> None:
    with pytest.raises(InvalidInput, match="conda-lock cannot read"):
        content_hashes(CondaFile(dependencies=("numpy >>1",)), ("conda-forge",), ("linux-64",))


def test_conda_lock_takes_our_hash_for_its_own(tmp_path: Path) -> None:
    from conda_lock.content_hash import backwards_compatible_content_hashes
    from conda_lock.src_parser import make_lock_spec
    from conda_lock.virtual_package import default_virtual_package_repodata

    source = tmp_path / "environment.yml"
    source.write_text("channels: [conda-forge]\ndependencies: [python=3.11, 'numpy >=1.26,<3']\n")
    spec = make_lock_spec(src_files=[source], platform_overrides=["linux-64"], mapping_url="none")
    conda = CondaFile(dependencies=("python=3.11", "numpy >=1.26,<3"))
    ours = content_hashes(conda, ("conda-forge",), ("linux-64",))
    accepted = backwards_compatible_content_hashes(
        spec, default_virtual_package_repodata(), "linux-64"
    )
    assert ours["linux-64"] in accepted
