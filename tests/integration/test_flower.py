from __future__ import annotations

import pytest
from command_line import refused, sciqueue

pytestmark = pytest.mark.usefixtures("command_settings")


def test_flower_is_not_shown_to_a_network_without_a_password() -> None:
    refused(sciqueue("flower", "--address", "0.0.0.0"), 2, "SCIQUEUE_FLOWER_AUTH=user:password")
