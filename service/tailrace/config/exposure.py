"""Files with secrets that other users of the machine can read: worth a warning, and no more.

It is no error: the service can read them, and in a container with one user there are no others. What other users may do
is told, except for three things:

- a group's rights. A group is somebody's decision: Kubernetes' ``fsGroup`` gives 0440 or 0640, Debian's ``ssl-cert``
  has the keys of services;
- a file that lies on a mount of its own which is read-only, where everyone can read it. So do secrets that Kubernetes
  (0644 by default), Docker Swarm (0444) and Compose give to one container, and no other process sees that mount;
- the rights of a symbolic link: Kubernetes' secrets are links, so the file behind the link is looked at.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

OTHERS = stat.S_IROTH | stat.S_IWOTH


def mounted_alone(path: str) -> bool:
    """Whether the file lies on a read-only mount that is not the root's. Raises `OSError` where there is none."""
    is_read_only = bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    return is_read_only and Path(path).stat().st_dev != Path("/").stat().st_dev


def exposure(path: str, is_alone: Callable[[str], bool] = mounted_alone) -> str | None:
    """Say who else can read or write the file; None when nobody can, or there is no such file."""
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode) or not mode & OTHERS or is_alone(path):
            return None
    except (OSError, ValueError):  # the reader of the file says what is wrong with it
        return None
    verb = "write" if mode & stat.S_IWOTH else "read"
    return f"other users of this machine can {verb} {path} (mode {stat.S_IMODE(mode):04o}): chmod o= {path}"
