"""Runs a command that ends when its parent does: `python tether.py PARENT_PID COMMAND…`. Linux only.

The kernel sends SIGTERM when the parent's *thread* that started the child ends, kill -9 included; so tethered children
are started from the parent's main thread. A file of its own, standard library only: it runs before anything is set up.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the tie was made
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
