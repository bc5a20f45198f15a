"""Under which account PostgreSQL can run, which refuses root and accounts without a name."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess

from schemas.errors import ConfigurationError

_ADVICE = "set SCIQUEUE_DATABASE_URL to a PostgreSQL of yours, or run as a normal user"


def unprivileged_prefix() -> list[str]:
    """What to put before a PostgreSQL command: nothing for a normal user, else a user namespace.

    In the namespace the process bears an unprivileged account's number and has no power over the system, while the
    files stay ours: no account is added, no owner or mode of any folder is changed.

    Raises:
        ConfigurationError: this system does not let us.
    """
    user = os.geteuid()
    if user != 0 and _known(user):
        return []
    trouble = "PostgreSQL does not run as root" if user == 0 else f"PostgreSQL needs a name for user number {user}"
    program = shutil.which("unshare", path=os.defpath)
    if program is None:
        raise ConfigurationError(f"{trouble}, and there is no `unshare` here: {_ADVICE}")
    number = next((one for one in (65534, 1000, 1) if _known(one)), None)  # `nobody`, as a rule
    if number is None:
        raise ConfigurationError(f"{trouble}, and no other account is known here: {_ADVICE}")
    prefix = [program, "--user", f"--map-user={number}", f"--map-group={number}"]
    probe = subprocess.run([*prefix, "true"], capture_output=True, text=True, timeout=10, check=False)
    if probe.returncode != 0:
        reason = " ".join(probe.stderr.split()) or f"unshare ended with {probe.returncode}"
        raise ConfigurationError(f"{trouble}, and a user namespace is refused ({reason}): {_ADVICE}")
    return prefix


def _known(number: int) -> bool:
    """Whether the account has a name, without listing all accounts, of which a directory service may have many."""
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True
