"""What the kubelet starts in a pod's new namespaces: builds the pod's own root, then becomes its command.

`python pod_init.py SPEC` where SPEC is a JSON file: root, hostname, binds [source, target, writable], environment,
directory, user, group, command. It runs as root in its own mount, UTS and PID namespaces; what it mounts nobody
else sees, and it goes when the pod's last process ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
BIND, REC, REMOUNT, READ_ONLY = 4096, 16384, 32, 1


def mount(source: str, target: str, kind: str = "", flags: int = 0) -> None:
    """mount(2)."""
    if LIBC.mount(source.encode(), target.encode(), kind.encode(), flags, None):
        raise OSError(ctypes.get_errno(), f"mount {source} on {target}: {os.strerror(ctypes.get_errno())}")


def bind(source: str, target: str, writable: bool) -> None:
    """Show `source` at `target`, creating the place for it."""
    if Path(source).is_dir():
        Path(target).mkdir(parents=True, exist_ok=True)
    elif not Path(target).exists():
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    mount(source, target, flags=BIND | REC)
    if not writable:
        mount(source, target, flags=BIND | REMOUNT | READ_ONLY)


def enter(root: str, binds: list[list[str | bool]]) -> None:
    """Fill the root, and make it ours."""
    mount("pod", root, "tmpfs")
    for top in ("bin", "sbin", "lib", "lib64"):  # links into /usr where it is merged, else directories
        if Path(f"/{top}").is_symlink():
            Path(root, top).symlink_to(os.readlink(f"/{top}"))
        elif Path(f"/{top}").exists():
            bind(f"/{top}", f"{root}/{top}", False)
    for directory in ("usr", "etc"):
        bind(f"/{directory}", f"{root}/{directory}", False)
    bind("/dev", f"{root}/dev", True)
    for source, target, writable in binds:
        bind(str(source), root + str(target), bool(writable))
    Path(root, "proc").mkdir()
    mount("proc", f"{root}/proc", "proc")
    Path(root, "tmp").mkdir(exist_ok=True)
    Path(root, "tmp").chmod(0o1777)
    os.chroot(root)


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    socket.sethostname(spec["hostname"])
    enter(spec["root"], spec["binds"])
    for own in ("/app", spec["environment"]["HOME"]):
        Path(own).mkdir(parents=True, exist_ok=True)
        os.chown(own, spec["user"], spec["group"])
    os.chdir(spec["directory"])
    if spec["user"]:
        os.setgroups([])
        os.setgid(spec["group"])
        os.setuid(spec["user"])
    os.execvpe(spec["command"][0], spec["command"], spec["environment"])


if __name__ == "__main__":
    main()
