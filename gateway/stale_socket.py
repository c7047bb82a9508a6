"""Makes way for a listening Unix socket: one that a killed process left is removed, one that somebody has is not."""

from __future__ import annotations

import errno
import socket
import stat
from pathlib import Path


def make_way(path: Path, kind: socket.SocketKind) -> None:
    """Remove a socket of ``kind`` that nobody listens at any more.

    OSError of ``path`` if somebody does, or if it is something else.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "exists and is no socket", str(path))
    with socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass  # its queue is full, so there is one
        except OSError as error:
            raise OSError(error.errno, f"in use ({error.strerror})", str(path)) from error
    raise OSError(errno.EADDRINUSE, "somebody listens there already", str(path))
