"""The registry in a folder: valid at every instant, readable by programs that others wrote."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from envsync.adapters.registry.oci_layout import LayoutRegistry
from envsync.errors import InvalidInput, NotAllowed, Unavailable
from envsync.model.reading import ABSENT, Present, Unknown
from envsync.oci.descriptor import CONFIG, Descriptor, digest_of
from tests.parts.cache import Unavailable as PartMissing
from tests.parts.process import tool
from tests.registry.images import blob, content, image, index

REPOSITORY = "envs/train"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "registry"


@pytest.fixture
def registry(root: Path) -> LayoutRegistry:
    return LayoutRegistry(root)


def run(*command: str) -> str:
    done = subprocess.run([tool(command[0]), *command[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def blob_file(root: Path, digest: str, repository: str = REPOSITORY) -> Path:
    return root / repository / "blobs" / "sha256" / digest.removeprefix("sha256:")


def damage(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Return each file with what changes when it is written again."""
    return {
        str(path): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def test_skopeo_and_umoci_read_what_was_written(
    registry: LayoutRegistry, root: Path, tmp_path: Path
) -> None:
    hello = image("hello from envsync")
    hello.put(registry, REPOSITORY, "1", "latest")
    place = f"{root / REPOSITORY}:1"
    assert json.loads(run("skopeo", "inspect", f"oci:{place}"))["Digest"] == hello.manifest.digest
    run("umoci", "unpack", "--image", place, str(tmp_path / "bundle"))
    assert (tmp_path / "bundle/rootfs/hello").read_text() == "hello from envsync"
    assert run("umoci", "list", "--layout", str(root / REPOSITORY)).split() == ["1", "latest"]


def test_skopeo_copies_out_of_a_folder_and_into_one(
    registry: LayoutRegistry, root: Path, tmp_path: Path
) -> None:
    hello, again = image("hello"), image("again")
    hello.put(registry, REPOSITORY, "1")
    run("skopeo", "copy", f"oci:{root / REPOSITORY}:1", f"oci:{tmp_path / 'elsewhere'}:x")
    elsewhere = LayoutRegistry(tmp_path)
    assert elsewhere.manifest("elsewhere", "x") == Present(hello.manifest)
    again.put(elsewhere, "elsewhere", "y")
    run("skopeo", "copy", f"oci:{tmp_path / 'elsewhere'}:y", f"oci:{root / REPOSITORY}:2")
    assert registry.manifest(REPOSITORY, "2") == Present(again.manifest)
    assert registry.tags(REPOSITORY) == Present(("1", "2"))
    with registry.blob(REPOSITORY, blob(again.layer)) as chunks:
        assert b"".join(chunks) == again.layer


def test_skopeo_reads_an_index_and_its_children(registry: LayoutRegistry, root: Path) -> None:
    amd64, arm64 = image("hello", "amd64"), image("hello", "arm64")
    amd64.put(registry, REPOSITORY)
    arm64.put(registry, REPOSITORY)
    registry.put_manifest(REPOSITORY, "1", index((amd64, "amd64"), (arm64, "arm64")))
    chosen = ("--override-arch", "arm64", "--override-os", "linux")
    shown = run("skopeo", *chosen, "inspect", f"oci:{root / REPOSITORY}:1")
    assert json.loads(shown)["Architecture"] == "arm64"


def test_a_second_write_of_the_same_writes_nothing(registry: LayoutRegistry, root: Path) -> None:
    image("hello").put(registry, REPOSITORY, "1")
    before = files(root)
    image("hello").put(registry, REPOSITORY, "1")
    assert files(root) == before


def test_mounting_makes_a_hard_link(registry: LayoutRegistry, root: Path) -> None:
    hello = image("hello")
    hello.put(registry, REPOSITORY, "1")
    digest = digest_of(hello.layer)
    assert registry.mount_blob("envs/other", digest, REPOSITORY)
    assert blob_file(root, digest).samefile(blob_file(root, digest, "envs/other"))


@pytest.mark.parametrize("name", ["train/blobs", "a/index.json/b", "a/oci-layout"])
def test_a_repository_never_stands_where_a_layout_keeps_its_files(
    registry: LayoutRegistry, name: str
) -> None:
    with pytest.raises(InvalidInput, match="cannot be a repository in a folder"):
        registry.head(name, "1")


def test_a_damaged_manifest_is_unknown_and_not_absent(registry: LayoutRegistry, root: Path) -> None:
    hello = image("hello")
    hello.put(registry, REPOSITORY, "1")
    damage(blob_file(root, hello.manifest.digest), hello.manifest.body + b" ")
    for reference in ("1", hello.manifest.digest):
        for reading in (registry.head, registry.manifest):
            found = reading(REPOSITORY, reference)
            assert isinstance(found, Unknown)
            assert "damaged" in found.reason


def test_a_tag_whose_manifest_is_gone_is_unknown(registry: LayoutRegistry, root: Path) -> None:
    hello = image("hello")
    hello.put(registry, REPOSITORY, "1")
    blob_file(root, hello.manifest.digest).unlink()
    assert isinstance(registry.head(REPOSITORY, "1"), Unknown)
    assert registry.head(REPOSITORY, "2") == ABSENT


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"manifests": 1}', '{"manifests": [1]}', '{"manifests": [{}]}']
)
def test_a_damaged_index_is_unknown_and_is_not_overwritten(
    registry: LayoutRegistry, root: Path, text: str
) -> None:
    hello = image("hello")
    hello.put(registry, REPOSITORY, "1")
    path = root / REPOSITORY / "index.json"
    damage(path, text.encode())
    assert isinstance(registry.head(REPOSITORY, "1"), Unknown)
    assert isinstance(registry.tags(REPOSITORY), Unknown)
    with pytest.raises(Unavailable, match="damaged"):
        registry.put_manifest(REPOSITORY, "2", hello.manifest)
    assert path.read_text() == text


@pytest.mark.parametrize("odd", ['{"manifests": [], "x": 1.5}', '{"manifests": [], "x": 1e999}'])
def test_an_index_that_cannot_be_written_again_is_not_overwritten(
    registry: LayoutRegistry, root: Path, odd: str
) -> None:
    made = image("odd")
    made.put(registry, REPOSITORY, "1")
    path = root / REPOSITORY / "index.json"
    damage(path, odd.encode())
    with pytest.raises(Unavailable, match="damaged"):
        registry.put_manifest(REPOSITORY, "2", made.manifest)
    assert path.read_text() == odd


def test_a_damaged_blob_is_not_read_and_is_healed_by_putting_it(
    registry: LayoutRegistry, root: Path
) -> None:
    data = b"layer" * 1000
    registry.put_blob(REPOSITORY, blob(data), content(data))
    damage(blob_file(root, digest_of(data)), b"LAYER" * 1000)
    with pytest.raises(Unavailable, match="damaged"), registry.blob(REPOSITORY, blob(data)) as got:
        list(got)
    registry.put_blob(REPOSITORY, blob(data), content(data))
    with registry.blob(REPOSITORY, blob(data)) as got:
        assert b"".join(got) == data


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """Take the right to use a folder away, from root too."""
    folder.chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        folder.chmod(0o755)


def test_a_folder_that_may_not_be_used_is_not_allowed(registry: LayoutRegistry, root: Path) -> None:
    hello = image("hello")
    hello.put(registry, REPOSITORY, "1")
    with without_rights(root):
        found = registry.head(REPOSITORY, "1")
        assert isinstance(found, Unknown)
        assert found.why == "not allowed"
        with pytest.raises(NotAllowed, match="not allowed to"):
            hello.put(registry, REPOSITORY, "2")
    assert registry.tags(REPOSITORY) == Present(("1",))


FILL = """
import sys
from pathlib import Path
from envsync.adapters.registry.oci_layout import LayoutRegistry
from envsync.errors import EnvsyncError
from tests.registry.images import blob, content, image
registry = LayoutRegistry(Path(sys.argv[1]))
image("hello").put(registry, "envs/train", "1")
data = bytes(4 << 20)
try:
    registry.put_blob("envs/train", blob(data), content(data))
except EnvsyncError as error:
    print(error.exit_code, error)
print([p.name for p in Path(sys.argv[1]).rglob(".writing/*")])
print(registry.has_blob("envs/train", blob(data).digest), registry.tags("envs/train"))
"""


def test_a_full_disk_leaves_nothing_half_written(root: Path) -> None:
    root.mkdir()
    script = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", str(root), sys.executable, FILL],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        raise PartMissing(f"no small disk can be mounted: {done.stderr.strip()}")
    error, left, after = done.stdout.rsplit("\n", 3)[:3]
    assert error.startswith("8 no space left for")
    assert left == "[]"
    assert after == "False Present(value=('1',))"


WRITE = """
import sys
from pathlib import Path
from envsync.adapters.registry.oci_layout import LayoutRegistry
from tests.registry.images import image
registry = LayoutRegistry(Path(sys.argv[1]))
name, count = sys.argv[2], int(sys.argv[3])
for number in range(count):
    image(f"{name} {number}").put(registry, "envs/train", f"{name}-{number}", "latest")
    print(number, flush=True)
"""


def writer(root: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITE, str(root), name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def assert_valid(root: Path) -> set[str]:
    """Check the folder as an image layout, by its own rules; return its tags."""
    folder = root / REPOSITORY
    if not (folder / "index.json").exists():
        return set()
    assert json.loads((folder / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    for path in (folder / "blobs" / "sha256").iterdir():
        assert digest_of(path.read_bytes()) == f"sha256:{path.name}"
    registry = LayoutRegistry(root)
    tags = registry.tags(REPOSITORY)
    if tags == ABSENT:
        return set()
    assert isinstance(tags, Present)
    for tag in tags.value:
        found = registry.manifest(REPOSITORY, tag)
        assert isinstance(found, Present)
        document = found.value.document()
        for part in (document["config"], *document["layers"]):
            assert registry.has_blob(REPOSITORY, Descriptor.parse(part).digest)
    return set(tags.value)


def test_processes_that_write_together_lose_nothing(root: Path) -> None:
    names = ("a", "b", "c")
    running = [writer(root, name, 8) for name in names]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    expected = {f"{name}-{number}" for name, number in itertools.product(names, range(8))}
    assert assert_valid(root) == {*expected, "latest"}
    assert not list(root.rglob(".writing/*"))


def test_a_writer_killed_at_any_instant_leaves_a_valid_layout(root: Path) -> None:
    chance = random.Random(7)
    for round_number in range(12):
        process = writer(root, f"r{round_number}", 1000)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        printed = process.stdout.read().split()
        process.wait()
        done = {f"r{round_number}-{number}" for number in [0, *map(int, printed)]}
        assert done <= assert_valid(root)
    LayoutRegistry(root).put_blob(REPOSITORY, blob(b"next"), content(b"next"))
    assert not list(root.rglob(".writing/*"))


def test_what_a_living_writer_has_begun_is_left_alone(registry: LayoutRegistry, root: Path) -> None:
    data = b"first half" + b"second half"

    def slowly() -> Iterator[bytes]:
        yield data[:10]
        image("meanwhile").put(registry, REPOSITORY, "1")
        assert len(list(root.rglob(".writing/*"))) == 1
        yield data[10:]

    registry.put_blob(REPOSITORY, blob(data), lambda: nullcontext(slowly()))
    assert registry.has_blob(REPOSITORY, digest_of(data))
    assert registry.tags(REPOSITORY) == Present(("1",))


def test_what_a_dead_writer_left_is_removed_by_the_next_write(
    registry: LayoutRegistry, root: Path
) -> None:
    image("hello").put(registry, REPOSITORY, "1")
    left = root / REPOSITORY / ".writing" / "0123456789abcdef"
    left.write_bytes(b"half")
    registry.put_blob(REPOSITORY, blob(b"next"), content(b"next"))
    assert not left.exists()


def test_a_layer_is_not_taken_for_a_manifest(registry: LayoutRegistry) -> None:
    large = Descriptor(media_type=CONFIG, digest=digest_of(bytes(5 << 20)), size=5 << 20)
    registry.put_blob(REPOSITORY, large, content(bytes(5 << 20)))
    hello = image("hello")
    hello.put(registry, REPOSITORY, "1")
    for digest in (large.digest, digest_of(hello.config), digest_of(hello.layer)):
        assert registry.manifest(REPOSITORY, digest) == ABSENT
