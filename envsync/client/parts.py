"""The parts that envsync runs on in one repository, opened when they are first needed.

The only place that decides which adapter stands behind which port, for the command line and for
programs alike; heavy libraries load here, late. The environment is what it is given.
"""

from __future__ import annotations

import datetime
import functools
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envsync.errors import InvalidInput, Unavailable
from envsync.model.channels import CHANNEL_ALIAS
from envsync.model.config import CONFIG_FILE, ENVIRONMENTS, LAYOUT, LAYOUT_HOST, Config
from envsync.model.names import repository_component
from envsync.model.reference import parse_registry_location

if TYPE_CHECKING:
    from envsync.adapters.git.repository import GitRepository
    from envsync.adapters.registry.registries import Registries as OpenRegistries
    from envsync.model.lock import Lock, LockedPackage
    from envsync.operations.build_dockerfile import BuildSite
    from envsync.operations.build_job import BuildJob
    from envsync.operations.carry_out import Plant
    from envsync.operations.lifecycle import Desk
    from envsync.operations.lock_work import LockTools
    from envsync.operations.look import Past
    from envsync.operations.observe import Registries
    from envsync.operations.readers import Readers
    from envsync.operations.workshop import Workshop
    from envsync.planning.freshness import LockRules
    from envsync.ports.builder import Workspace
    from envsync.ports.git import Records
    from envsync.ports.progress import Progress
    from envsync.ports.registry import RegistryReader, RegistryWriter


@dataclass(slots=True, kw_only=True)
class Parts:
    """The parts of one repository."""

    folder: Path
    """A folder of the repository."""
    environ: Mapping[str, str]
    """Environment variables: logins, proxies, caches, channels and indexes."""
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime.datetime] = field(
        default=lambda: datetime.datetime.now(datetime.UTC)
    )
    closing: ExitStack = field(default_factory=ExitStack)
    home: Path | None = None
    """Where the embedded registry stands, if not in this repository."""
    _registries: OpenRegistries | None = None
    _opening: threading.Lock = field(default_factory=threading.Lock)
    _git: GitRepository | None = None

    @property
    def root(self) -> Path:
        """The repository's top: the nearest folder above with envsync.yaml, or with .git."""
        here = self.folder.resolve()
        for marker in (CONFIG_FILE, ".git"):
            for folder in (here, *here.parents):
                if (folder / marker).exists():
                    return folder
        return here

    @property
    def cache(self) -> Path:
        """Where envsync keeps what it can always make again."""
        configured = self.environ.get("ENVSYNC_CACHE_DIR")
        if configured:
            return Path(configured)
        import platformdirs

        return Path(platformdirs.user_cache_dir("envsync"))

    def cache_folder(self) -> Path:
        """Return the cache, made if it was not there, for what cannot do without."""
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(
                f"the cache folder {self.cache} cannot be used",
                detail=str(error),
                hint="Choose another one:\n    export ENVSYNC_CACHE_DIR=…",
            ) from error
        return self.cache

    def git(self, config: Config | None = None) -> GitRepository:
        """Open the git repository; InvalidInput when there is none."""
        from envsync.adapters.git.repository import GitRepository

        if not (self.root / ".git").exists():
            raise InvalidInput(
                f"{self.root} is not the top of a git repository",
                detail=f"{CONFIG_FILE} and {ENVIRONMENTS}/ stand at the top of a repository.",
                hint="Make one:\n    envsync init",
            )
        if self._git is None:
            self._git = GitRepository(self.root, remote="", cache=self.cache, environ=self.environ)
        if config:
            self._git.keep_records_at(config.remote)
        return self._git

    def committed_config(self, revision: str = "HEAD") -> Config:
        """Read the settings as a commit has them."""
        from envsync.adapters.files.strict_yaml import parse_document
        from envsync.model.document import Faults
        from envsync.operations.load import load_config

        faults = Faults()
        config = load_config(self.git().tree(revision), parse_document, faults)
        faults.check(f"{CONFIG_FILE} cannot be used")
        return config

    def working_config(self) -> Config:
        """Read the settings as they stand in the working folder."""
        from envsync.adapters.files.strict_yaml import parse_document
        from envsync.adapters.git.worktree import WorkTree
        from envsync.model.document import Faults
        from envsync.operations.load import load_config

        faults = Faults()
        config = load_config(WorkTree(self.root), parse_document, faults)
        faults.check(f"{CONFIG_FILE} cannot be used")
        return config

    @property
    def _layout(self) -> Path:
        return (self.home or self.root) / LAYOUT

    def readers(self) -> Readers:
        """Return what turns files into values."""
        from envsync.adapters.building.memory_folder import MemoryFolder, this_program
        from envsync.adapters.files.strict_yaml import parse_document
        from envsync.operations.readers import Readers

        def parse_lock(conda_lock: bytes | None, image: bytes | None, folder: str) -> Lock | None:
            # A lock that did not change is remembered by what came of it.
            from envsync.adapters.locks.conda_lock_file import parse_lock as parsed

            return parsed(conda_lock, image, folder)

        def matches(text: str, package: LockedPackage) -> bool:
            # rattler takes a tenth of a second to load, and a lock whose request did not change
            # needs no matching at all.
            from envsync.adapters.solving.rattler_match import matches as rattler_matches

            return rattler_matches(text, package)

        return Readers(
            parse=parse_document,
            parse_lock=parse_lock,
            matches=matches,
            root=self.root.as_posix(),
            channel_alias=self.environ.get("CONDA_CHANNEL_ALIAS") or CHANNEL_ALIAS,
            memory=MemoryFolder(self.cache / "wishes", maker=this_program()),
        )

    def hosts(self) -> OpenRegistries:
        """Return the registries of this process, by host."""
        with self._opening:
            if self._registries is None:
                from envsync.adapters.registry.registries import Registries
                from envsync.client.registry_settings import registry_settings

                settings = registry_settings(self.environ, self.sleep)
                self._registries = self.closing.enter_context(Registries(settings))
            return self._registries

    def registry(self, config: Config) -> tuple[RegistryWriter, Callable[[str], str]]:
        """Return the registry that envsync keeps, and how environments are called in it."""
        from envsync.adapters.registry.registries import open_registry

        if not config.registry:
            return open_registry(self._layout, self.hosts()), repository_component
        location = parse_registry_location(config.registry)
        return open_registry(location, self.hosts()), location.repository

    def registries(self, config: Config) -> Registries:
        """Return the registry and the sources of images, for reading."""
        from envsync.operations.observe import Registries

        registry, repository = self.registry(config)
        return Registries(registry=registry, repository=repository, source=self.source)

    def places(
        self, config: Config, *, policy_from: str = "", base: str = "", registry: str = ""
    ) -> tuple[GitRepository, Registries]:
        """Return git and the registries that a plan of a commit with the settings *config* asks.

        Where it is judged by the policy of another revision, that one's are asked. *registry* is
        asked in any case, if given: it is the choice of who plans.
        """
        if not (policy_from or base):
            chosen = replace(config, registry=registry or config.registry)
            return self.git(config), self.registries(chosen)
        from envsync.operations.asked import asked_config, limited
        from envsync.operations.compare import base_commit
        from envsync.operations.policy import settings_of

        git, readers = self.git(), self.readers()
        if base:
            base_commit(git, base)
        origin = policy_from or base
        tree = git.tree(origin)
        target = settings_of(tree, readers.parse, origin)
        asked = asked_config(config, target)
        asked = replace(asked, registry=registry or asked.registry)
        registries = limited(self.registries(asked), target, tree, readers, origin)
        return self.git(asked), registries

    def source(self, host: str) -> RegistryReader:
        """Return the registry of an image reference, by its host, for reading."""
        from envsync.adapters.registry.registries import open_registry

        if host == LAYOUT_HOST:
            return open_registry(self._layout, self.hosts())
        return self.hosts().at(host)

    def image(self, config: Config, name: str) -> str:
        """Return what people write to pull the images of environment *name*, without a tag."""
        registry, repository = self.registry(config)
        where = f"{registry.name}/{repository(name)}"
        return where if config.registry else f"oci:{where}"

    def past(self, config: Config) -> tuple[Past, str]:
        """Return all records, and a warning when only those known locally could be read."""
        from envsync.model.reading import Unknown

        git = self.git(config)
        read = git.records()
        if isinstance(read, Unknown):
            warning = f"these are the records known here; {read.reason}"
            return self._past(config, git.known_records()), warning
        return self._past(config, read.value), ""

    def exact_past(self, config: Config) -> tuple[Past, Records]:
        """Return all records as the arbiter has them; raises when it does not say."""
        from envsync.model.reading import Unknown

        read = self.git(config).records()
        if isinstance(read, Unknown):
            raise read.error("nobody can say which versions are recorded")
        return self._past(config, read.value), read.value

    def _past(self, config: Config, records: Records) -> Past:
        from envsync.adapters.git.worktree import WorkTree
        from envsync.operations.lifecycles import load_lifecycles
        from envsync.operations.load import environment_names
        from envsync.operations.look import Past

        tree, readers = WorkTree(self.root), self.readers()
        return Past(
            git=self.git(config),
            readers=readers,
            records=records.records,
            names=environment_names(tree),
            lifecycles=load_lifecycles(tree, readers.parse),
            own=frozenset(
                name for name, place in config.registries.items() if place == config.registry
            ),
        )

    def desk(self) -> Desk:
        """Return what changing files of the working folder needs."""
        from envsync.adapters.files.new_files import NewFiles
        from envsync.adapters.files.strict_yaml import parse_document
        from envsync.adapters.files.yaml_edit import edit_document
        from envsync.adapters.git.worktree import WorkTree
        from envsync.operations.lifecycle import Desk

        root = self.root
        return Desk(
            tree=WorkTree(root), parse=parse_document, edit=edit_document, files=NewFiles(root)
        )

    def workshop(
        self,
        config: Config,
        progress: Progress,
        jobs: int,
        *,
        verify_layers: bool = False,
        elsewhere: Callable[[BuildJob], str] | None = None,
    ) -> Workshop:
        """Return what building and publishing needs; *elsewhere* carries jobs out, if given."""
        from envsync.operations.publish import Uploads
        from envsync.operations.workshop import Workshop

        folder = self.cache_folder()
        registries = self.registries(config)
        registry, _ = self.registry(config)
        chance = random.SystemRandom()

        def site() -> BuildSite:
            from envsync.client.dockerfile_parts import build_site

            return build_site(self)

        uploads = Uploads(registry)
        turn = threading.Lock()

        @functools.cache
        def here() -> Plant:
            # Loaded for the first build: mostly everything is in sync.
            from envsync.client.build_parts import plant

            return plant(self, config, registry, progress, uploads, verify_layers=verify_layers)

        def build(job: BuildJob) -> str:
            from envsync.operations.carry_out import carry_out

            with turn:
                tools = here()
            return carry_out(job, tools)

        def workspace() -> AbstractContextManager[Workspace]:
            from envsync.adapters.building.build_folder import BuildFolder

            return BuildFolder(folder / "build")

        return Workshop(
            git=self.git(config),
            registry=registry,
            registries=registries,
            readers=self.readers(),
            build=elsewhere or build,
            workspace=workspace,
            uploads=uploads,
            progress=progress,
            pause=lambda attempt: self.sleep(chance.uniform(0, min(30.0, 0.5 * 2**attempt))),
            builds_at_once=jobs,
            referrers=config.referrers,
            site=site,
        )

    def lock_rules(self, config: Config) -> LockRules:
        """Return what locks are judged by."""
        from envsync.adapters.solving.rattler_match import matches
        from envsync.planning.freshness import LockRules

        return LockRules(
            config=config,
            matches=matches,
            root=self.root.as_posix(),
            channel_alias=self.environ.get("CONDA_CHANNEL_ALIAS") or CHANNEL_ALIAS,
        )

    def lock_tools(self, progress: Progress) -> LockTools:
        """Return what locking is done with: solvers, registries and folders."""
        from envsync.client.lock_parts import lock_tools

        return lock_tools(self, progress)
