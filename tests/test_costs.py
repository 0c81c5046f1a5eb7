"""Requests take no more steps than are recorded in `costs.json`. Steps are counted, not timed: see `costs.py`."""

import os

from mizan_core.testing.redis_server import RedisServer
from tests import costs

# More than this is no accident, and less is not worth a new record.
MARGIN = 0.10

REMEDY = (
    "If this is what it has to be, record it anew: `.venv/bin/python -m tests.costs --record`. What became cheaper is "
    "recorded too, or it could be lost again unnoticed."
)


def test_no_kind_of_request_takes_more_steps_than_are_recorded(redis: RedisServer) -> None:
    version, recorded = costs.recorded()
    counted = costs.count(redis.url)
    if version != costs.VERSION:
        assert os.environ.get("CI") != "true", f"Record with Python {costs.VERSION}, which counts here."
        recorded, counted = costs.calls_alone(recorded), costs.calls_alone(counted)
    changes = costs.changes(recorded, counted, beyond=MARGIN)
    assert changes == [], "\n".join([*changes, REMEDY])


def test_changed_added_and_removed_costs_are_reported() -> None:
    old = {"hit": {"instructions": 100.0}, "gone": {"instructions": 1.0}, "miss": {"instructions": 100.0}}
    new = {"hit": {"instructions": 111.0}, "new": {"instructions": 1.0}, "miss": {"instructions": 89.0}}
    told = costs.changes(old, new, beyond=0.1)
    assert sorted(told) == [
        "gone: only recorded",
        "hit: 100 instructions have become 111 (+11%)",
        "miss: 100 instructions have become 89 (-11%)",
        "new: only counted",
    ]
    assert costs.changes(old, old, beyond=0.1) == []
