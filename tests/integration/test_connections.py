"""What both ends of a connection to PostgreSQL do when the other one vanishes; `make netns` has packets vanish."""

from __future__ import annotations

import pytest

from schemas.database import Connection, Database, connect

# As the kernel has it: `SHOW` asks the server's socket.
_NOTICED_WITHIN = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "15000",
}


def _shown(connection: Connection) -> dict[str, str]:
    rows = (connection.execute(f"SHOW {name}".encode()).fetchone() for name in _NOTICED_WITHIN)
    return {name: value for row in rows if row for name, value in row.items()}


@pytest.mark.skipif("sys.platform != 'linux'", reason="other systems cannot bound how long data stay unanswered")
def test_the_server_soon_ends_a_session_whose_client_vanished_and_with_it_its_locks(database: Database) -> None:
    with database.transaction() as pooled, connect(database.url) as alone:
        assert _shown(pooled) == _shown(alone) == _NOTICED_WITHIN
