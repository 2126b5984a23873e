from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from tests.policies.conftest import notes, one
from typing_extensions import TypedDict

from lg_prod_nodes import ConfigurationError, RateLimit, by_user, harden


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"limits": ""}, "second, minute"),
        ({"limits": "10"}, "cannot read the rate limit '10'"),
        ({"limits": "often"}, "cannot read the rate limit 'often'"),
        ({"limits": "-1/second"}, "cannot read"),
        ({"limits": 10}, "cannot read the rate limit 10"),
        ({"limits": "0/second"}, "at least 1"),
        ({"limits": "5/second;0/hour"}, "at least 1"),
        ({"max_wait": -1.0}, "max_wait is -1.0"),
        ({"max_wait": float("nan")}, "max_wait is nan"),
        ({"by": "user"}, "by is 'user'"),
        ({"store": "ftp://somewhere"}, "ftp://"),
        ({"store": "mysql://somewhere"}, "memory://, postgresql://, redis:// or valkey://"),
        ({"store": 7}, "memory://"),
        ({"reply": 3}, "reply is 3"),
        ({"store_down": "ignore"}, "'raise', 'admit' or 'share'"),
        ({"store_down": "share"}, "workers="),
        ({"workers": 4}, "store_down='share'"),
        ({"store_down": "share", "workers": 0}, "workers is 0; give the number"),
        ({"store_down": "share", "workers": 1.5}, r"workers is 1\.5"),
        ({"limits": ["1/second"]}, "cannot read the rate limit"),
        ({"limits": None}, "cannot read the rate limit"),
        ({"cost": 3}, "cost is 3; give a function"),
        ({"max_wait": float("inf")}, "max_wait is inf"),
        ({"name": ""}, "name is ''"),
    ],
)
def test_settings_that_cannot_work_are_refused_while_building(
    settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        RateLimit(**{"limits": "1/second", **settings})


def test_the_store_s_password_does_not_show() -> None:
    limit = RateLimit("1/second", store="valkey://ann:hunter2@localhost:1")

    assert "hunter2" not in f"{limit!r} {limit.store_in_use!r} {limit.store_in_use}"


def test_a_limit_can_be_copied_and_sent_elsewhere() -> None:
    limit = RateLimit("1/second", by=by_user)

    assert pickle.loads(pickle.dumps(limit)) == limit
    assert copy.deepcopy(limit) == limit


class Plain(TypedDict):
    log: list[str]


def test_a_text_as_reply_needs_messages_to_land_in() -> None:
    with pytest.raises(ConfigurationError, match="messages"):
        harden(one(notes("ran"), schema=Plain), [RateLimit("1/hour", reply="Slow down.")])


def test_equal_limits_are_equal_and_none_changes() -> None:
    limit = RateLimit("1/second")

    assert limit == RateLimit("1/second")
    assert hash(limit) == hash(RateLimit("1/second"))
    with pytest.raises(AttributeError):
        limit.limits = "2/second"
