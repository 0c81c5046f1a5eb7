"""The memory of computed values is bounded, and made-up keys displace only keys that came up once."""

import pytest

from mizan_core.memo import Memo, Seen


def test_a_memo_knows_exactly_what_was_put() -> None:
    memo: Memo[str, int] = Memo(1_000)
    memo.put("a", 1, 10)
    assert [memo.get("a"), memo.get("a"), memo.get("b")] == [1, 1, None]
    assert len(memo) == 1


def test_keys_used_once_evict_none_that_is_used_again() -> None:
    memo: Memo[int, int] = Memo(1_000)
    for number in range(10):
        memo.put(number, number, 10)
        memo.get(number)
    for number in range(100, 10_000):
        memo.put(number, number, 10)
        assert len(memo) <= 100
    assert [memo.get(number) for number in range(10)] == list(range(10))


def test_used_keys_make_room_for_later_ones() -> None:
    memo: Memo[int, int] = Memo(1_000)
    for number in range(10_000):
        memo.put(number, number, 10)
        assert memo.get(number) == number
        assert len(memo) <= 100
    assert memo.get(9_999) == 9_999
    assert memo.get(0) is None


def test_a_used_key_outlives_a_change_of_generations() -> None:
    memo: Memo[int, int] = Memo(1_000)
    memo.put(-1, -1, 10)
    for number in range(1_000):
        memo.put(number, number, 10)
        assert (memo.get(-1), memo.get(number)) == (-1, number)


@pytest.mark.parametrize("size", [334, 10_000])
def test_a_value_larger_than_a_part_is_not_remembered(size: int) -> None:
    memo: Memo[str, int] = Memo(1_000)
    memo.put("large", 1, size)
    assert memo.get("large") is None
    assert len(memo) == 0


def test_seen_tells_keys_that_came_before() -> None:
    seen = Seen(100)
    assert [seen.again(key) for key in ("a", "b", "a", ("a", b"b"), ("a", b"b"))] == [False, False, True, False, True]


def test_seen_forgets_what_came_long_ago_and_nothing_sooner() -> None:
    seen = Seen(100)
    assert not seen.again("early")
    assert not any(seen.again(number) for number in range(100))
    assert seen.again("early")
    assert not any(seen.again(number) for number in range(100, 200))
    assert not seen.again("early")
