"""The program that enters an unpacked image: it makes a view of it, and becomes the command.

It runs as a process of its own, because a process with threads cannot enter a user namespace; it
reads what to do as JSON from the descriptor that its argument names, and ends by executing the
command: so exit code, signals and terminal are the command's own. Standard library only.

What it does: a mount namespace of its own (and, without privileges, a user namespace in which one
user is mapped); the image below, a memory file system above it that takes what the command writes
into the image; then the places of this machine; then the view becomes the root.
Sources: https://man7.org/linux/man-pages/man7/user_namespaces.7.html,
https://man7.org/linux/man-pages/man2/pivot_root.2.html and
https://docs.kernel.org/filesystems/overlayfs.html
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from envsync.adapters.running.inside import Inside

CANNOT = 125
"""Exit code when the container could not be made; nothing of the command has run."""

_NEWNS, _NEWUSER = 0x20000, 0x10000000
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_LOCKED = 2 | 4 | 8 | 1024 | 2048
"""Flags of a mount that a namespace without privileges may not take away: nosuid, nodev, …."""
_DETACH = 2
_PARENT_DEATH = 1
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_VIEW = "stage/view"


def main() -> None:
    """Do what the descriptor in the first argument says."""
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        plan = json.load(file)
    try:
        _enter(plan)
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        _end(CANNOT, f"error: the container cannot be made: {what}{error.strerror}")
    if plan.get("probe"):
        return
    _execute(plan)


def _enter(plan: dict[str, Any]) -> None:
    os.chdir(plan["image"])
    _unshare(plan)
    _mount("none", "/", "", _REC | _PRIVATE)
    view = _view(writable=plan["writable"])
    if plan.get("probe"):
        return
    folder = plan["folder"]
    with Inside(view) as inside:
        for mount in plan["mounts"]:
            placed = _place(inside, mount)
            if mount["target"] == plan["folder"]:
                folder = placed
    _change_root(view)
    # Before the user changes, who may not be allowed to walk all the way to it.
    with suppress(FileNotFoundError):
        os.chdir(folder)
    _become(plan)


def _unshare(plan: dict[str, Any]) -> None:
    if plan["privileged"]:
        _call("unshare", ctypes.c_int(_NEWNS))
        return
    user, group = os.geteuid(), os.getegid()
    _call("unshare", ctypes.c_int(_NEWUSER | _NEWNS))
    # https://man7.org/linux/man-pages/man7/user_namespaces.7.html: setgroups must be denied first.
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{plan['uid']} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{plan['gid']} {group} 1", encoding="ascii")


def _view(*, writable: bool) -> str:
    """Mount the image so that nothing of it can be changed; return where."""
    _mount("envsync", "stage", "tmpfs", 0, "mode=0755")
    for name in ("upper", "work", "view"):
        Path("stage", name).mkdir()
    Path("stage/upper").chmod(stat.S_IMODE(Path("rootfs").stat().st_mode))
    layers = "lowerdir=rootfs,upperdir=stage/upper,workdir=stage/work"
    for options in (f"{layers},userxattr", layers) if writable else ():
        try:
            _mount("overlay", _VIEW, "overlay", 0, options)
        except OSError:
            continue
        return _VIEW
    # Kernels before 5.11 have no overlays for those without privileges.
    _mount("rootfs", _VIEW, "", _BIND | _REC)
    _make_read_only(_VIEW)
    for place in ("run", "var/tmp"):
        if Path(_VIEW, place).is_dir() and not Path(_VIEW, place).is_symlink():
            _mount("envsync", f"{_VIEW}/{place}", "tmpfs", 0, "mode=1777")
    return _VIEW


def _place(inside: Inside, mount: dict[str, Any]) -> str:
    """Mount something of this machine into the view; return where it is, '' when it cannot be."""
    source, folder = mount["source"], Path(mount["source"]).is_dir()
    target: str = mount["target"]
    try:
        handle = _target(inside, target, folder=folder)
    except OSError as error:
        if mount["optional"]:
            return ""
        if not mount["otherwise"] or error.errno not in {errno.EROFS, errno.EACCES, errno.ENOTDIR}:
            raise OSError(error.errno, error.strerror, target) from error
        target = mount["otherwise"]
        handle = _target(inside, target, folder=folder)
    try:
        # The way to the target was walked by us, link by link; the kernel must not walk it again.
        _mount(source, f"/proc/self/fd/{handle}", "", _BIND | _REC)
    except OSError:
        if not mount["optional"]:
            raise
        return ""
    finally:
        os.close(handle)
    if mount["read_only"]:
        handle = _target(inside, target, folder=folder)
        try:
            _make_read_only(f"/proc/self/fd/{handle}")
        finally:
            os.close(handle)
    return target


def _target(inside: Inside, path: str, *, folder: bool) -> int:
    """Open the place of a mount, and make it when it is not there."""
    if folder:
        return inside.open_folder(path.split("/"), create=True)
    with inside.folder(path.split("/")[:-1], create=True):
        pass
    try:
        return inside.open_file(path)
    except FileNotFoundError:
        return inside.open_file(path, os.O_WRONLY | os.O_CREAT)


def _make_read_only(path: str) -> None:
    locked = os.statvfs(path).f_flag & _LOCKED
    _mount("none", path, "", _BIND | _REMOUNT | _RDONLY | locked)


def _change_root(view: str) -> None:
    os.chdir(view)
    number = _PIVOT_ROOT.get(os.uname().machine)
    try:
        if number is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        here = ctypes.c_char_p(b".")
        _check(_LIBC.syscall(ctypes.c_long(number), here, here), "pivot_root")
        # Old and new root are both at "/" now, the old one on top.
        _check(_LIBC.umount2(ctypes.c_char_p(b"."), ctypes.c_int(_DETACH)), "/")
    except OSError:
        os.chroot(".")
    os.chdir("/")


def _become(plan: dict[str, Any]) -> None:
    if plan["privileged"] and plan["change_user"]:
        os.setgroups(plan["groups"])
        os.setgid(plan["gid"])
        os.setuid(plan["uid"])
    if plan["child"]:
        # Who started it waits for it; nobody does any more when that one is gone.
        _call("prctl", ctypes.c_int(_PARENT_DEATH), ctypes.c_ulong(signal.SIGKILL))


def _execute(plan: dict[str, Any]) -> None:
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and a command inherits that
    command, variables = plan["command"], plan["variables"]
    sys.stdout.flush()
    try:
        os.execvpe(command[0], command, variables)  # noqa: S606
    except FileNotFoundError:
        _end(127, f"error: the image has no program {command[0]}")
    except OSError as error:
        _end(126, f"error: {command[0]} cannot be executed: {error.strerror}")


def _end(code: int, message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
    os._exit(code)


_LIBC = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: Any) -> None:
    _check(getattr(_LIBC, name)(*arguments), name)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    result = _LIBC.mount(
        ctypes.c_char_p(os.fsencode(source)),
        ctypes.c_char_p(os.fsencode(target)),
        ctypes.c_char_p(os.fsencode(kind)),
        ctypes.c_ulong(flags),
        ctypes.c_char_p(os.fsencode(options)),
    )
    _check(result, source)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


if __name__ == "__main__":
    main()
