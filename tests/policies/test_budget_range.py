"""A budget that cannot be counted is answered with the range that can, in the budget's own unit."""

from __future__ import annotations

from typing import Any

import pytest

from lg_prod_nodes import ConfigurationError, CostBudget, TokenBudget


@pytest.mark.parametrize(
    ("policy", "budget", "range"),
    [
        (CostBudget, "9007200", "from 0.000000001 to 9,007,199 US dollars"),
        (CostBudget, "0.0000000001/day", "from 0.000000001 to 9,007,199 US dollars"),
        (TokenBudget, "9007199254740993", "from 1 to 9,007,199,254,740,992 tokens"),
    ],
)
def test_the_range_is_that_of_the_unit(policy: Any, budget: str, range: str) -> None:
    with pytest.raises(ConfigurationError, match=range):
        policy(budget)


def test_the_ends_of_the_range_can_be_given() -> None:
    assert CostBudget("9007199").budget == "9007199"
    assert CostBudget("0.000000001/day").budget == "0.000000001/day"
    assert TokenBudget("9007199254740992").budget == "9007199254740992"
