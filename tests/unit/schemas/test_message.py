from __future__ import annotations

import json

import pytest

from schemas.errors import UsageError
from schemas.message import BatchMessage


def test_a_message_survives_json() -> None:
    message = BatchMessage(batch=2**40, fence=3)
    assert BatchMessage.from_wire(json.loads(json.dumps(message.to_wire()))) == message


def test_another_versions_message_is_refused_and_says_who_should_act() -> None:
    with pytest.raises(UsageError, match="upgrade both"):
        BatchMessage.from_wire({"batch": 1, "fence": 1, "version": 99})
