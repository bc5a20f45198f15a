"""Two hosts on one machine: a network and a host name of its own for each, joined by a cable that can be cut.

Linux namespaces, which end with the last process in them. They are root's, or any user's where the system lets users
make some.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

NEAR, FAR = "alpha", "beta"  # host names
NEAR_ADDRESS, FAR_ADDRESS = "10.77.0.1", "10.77.0.2"
_UNSHARE = ["unshare", "--net", "--uts"]
_INSIDE = "--inside"
_NOWHERE = "02:00:00:00:00:00"  # a hardware address that nobody has


def enter_namespaces(module: str) -> None:
    """Run this program again as the near host; returns there. Ends with status 2 where the system does not allow it."""
    if _INSIDE in sys.argv:
        sys.argv.remove(_INSIDE)
        socket.sethostname(NEAR)
        _ip("link", "set", "lo", "up")
        return
    if missing := [name for name in ("unshare", "nsenter", "ip", "setpriv") if shutil.which(name) is None]:
        _give_up(f"needs {', '.join(missing)} (Debian's packages util-linux and iproute2)")
    for unshare in (_UNSHARE, [*_UNSHARE, "--map-root-user"]):
        probe = subprocess.run([*unshare, "ip", "link", "add", "type", "veth"], capture_output=True, text=True)
        if probe.returncode == 0:
            os.execvp(unshare[0], [*unshare, sys.executable, "-m", module, _INSIDE, *sys.argv[1:]])
    _give_up(f"needs network namespaces, as root or as a user who may `unshare -rn` ({probe.stderr.strip()})")


def _give_up(why: str) -> None:
    print(why, file=sys.stderr)
    sys.exit(2)


@dataclass(frozen=True, slots=True)
class FarHost:
    """The other host. `enter` are the words that run a command there."""

    enter: tuple[str, ...]

    def unplug(self) -> None:
        """Take its link down: it knows that it has no network, and the near host that the cable is dead."""
        _ip("link", "set", FAR, "down", before=self.enter)

    def plug_in(self) -> None:
        """Take its link up again."""
        _ip("link", "set", FAR, "up", before=self.enter)

    def swallow(self) -> None:
        """Have all packets vanish, both ways, without a word to either host: they go to a card that is not there."""
        _ip("neighbour", "replace", FAR_ADDRESS, "lladdr", _NOWHERE, "dev", NEAR, "nud", "permanent")
        _ip(
            *("neighbour", "replace", NEAR_ADDRESS, "lladdr", _NOWHERE, "dev", FAR, "nud", "permanent"),
            before=self.enter,
        )

    def deliver(self) -> None:
        """Have packets arrive again."""
        _ip("neighbour", "delete", FAR_ADDRESS, "dev", NEAR)
        _ip("neighbour", "delete", NEAR_ADDRESS, "dev", FAR, before=self.enter)


@contextmanager
def far_host() -> Iterator[FarHost]:
    """The far host, cabled to this one. It ends with this block, and with this process."""
    holder = subprocess.Popen(
        [*_UNSHARE, "sh", "-c", f"hostname {FAR} && echo made && exec cat"],  # until its input ends
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"made\n"
    enter = ("nsenter", "--target", str(holder.pid), "--net", "--uts")
    try:
        _ip("link", "add", NEAR, "type", "veth", "peer", "name", FAR, "netns", str(holder.pid))
        _ip("address", "add", f"{NEAR_ADDRESS}/24", "dev", NEAR)
        _ip("link", "set", NEAR, "up")
        _ip("address", "add", f"{FAR_ADDRESS}/24", "dev", FAR, before=enter)
        _ip("link", "set", FAR, "up", before=enter)
        yield FarHost(enter)
    finally:
        holder.communicate()


def _ip(*words: str, before: tuple[str, ...] = ()) -> None:
    subprocess.run([*before, "ip", *words], check=True)
