"""Where a server listens on loopback: a port that is its own, and a password."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable

import psutil
from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import ServerUnavailable

# Below every system's range for outgoing connections: a client that keeps trying a dead server's port could otherwise
# be given that very port as its own, connect to itself and keep the server from coming back.
_PORTS = range(15000, 32000)

VACATING = 2.0  # seconds: a killed server holds its port until the last of its threads is gone, past its own end


class Endpoint(BaseModel):
    """The port on 127.0.0.1 and the password of one server. Both stay the same over restarts."""

    model_config = ConfigDict(frozen=True)

    port: int = Field(ge=1, le=65535)
    password: str = Field(min_length=1, repr=False)

    @classmethod
    def fresh(cls) -> Endpoint:
        """A free port and a new password of 192 random bits, safe within a URL."""
        return cls(port=free_port(), password=secrets.token_urlsafe(24))


def on_its_port(
    endpoint: Endpoint, attempt: Callable[[Endpoint], None], process: Callable[[], psutil.Process | None]
) -> None:
    """Start a server on its port, or on another one if a stranger has taken that.

    Args:
        endpoint: what the server had before.
        attempt: starts it on a given endpoint.
        process: finds the server's living process.

    Raises:
        ServerUnavailable: `attempt` failed, and not for the port's sake; or three ports were taken in a row.
    """
    for left in (2, 1, 0):
        if not _comes_free(endpoint.port):
            endpoint = Endpoint(port=free_port(), password=endpoint.password)
        try:
            attempt(endpoint)
        except ServerUnavailable:
            if left == 0 or process() is not None or is_free(endpoint.port):
                raise
        else:
            return


def listens(process: psutil.Process, port: int) -> bool:
    """Whether this process itself accepts connections on the port, so that a password may be sent there."""
    try:
        sockets = process.net_connections("tcp")
    except (OSError, psutil.Error):
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in sockets)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closing connections don't count
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _comes_free(port: int) -> bool:
    """Whether the port is free within `VACATING` seconds."""
    deadline = time.monotonic() + VACATING
    while not (free := is_free(port)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return free


def free_port() -> int:
    """A random port of 127.0.0.1 that nobody listens on."""
    while not is_free(port := secrets.choice(_PORTS)):
        pass
    return port
