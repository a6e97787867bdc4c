"""The rules for what a second operator must confirm."""

from tests.builders import NOON

from lyftdata.core.second_operator import make_rules
from lyftdata.store.tables import second_operator_rules


async def test_there_is_at_most_one_set_of_rules(store):
    """A later one replaces it; when cleared, there is none."""
    first = make_rules(["delete_workers"], 0, at=NOON, by="operator:ann")
    second = make_rules(["refuse_agents"], 5_000, at=NOON, by="api_token:x")
    assert await store.read(second_operator_rules.find_rules) is None

    for rules in (first, second):
        await store.write(lambda tx, rules=rules: second_operator_rules.write_rules(tx, rules))
        assert await store.read(second_operator_rules.find_rules) == rules

    assert await store.write(second_operator_rules.clear_rules)
    assert not await store.write(second_operator_rules.clear_rules)
    assert await store.read(second_operator_rules.find_rules) is None
