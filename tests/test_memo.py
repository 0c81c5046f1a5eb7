"""The memory of computed values is bounded, and made-up keys displace only keys that came up once."""

import pytest

from mizan_core.memo import Memo


def test_what_was_put_is_known_and_anything_else_is_not() -> None:
    memo: Memo[str, int] = Memo(1_000)
    memo.put("a", 1, 10)
    assert [memo.get("a"), memo.get("a"), memo.get("b")] == [1, 1, None]
    assert len(memo) == 1


def test_keys_that_are_made_up_once_drive_out_none_that_is_used_again() -> None:
    memo: Memo[int, int] = Memo(1_000)
    for number in range(10):
        memo.put(number, number, 10)
        memo.get(number)
    for number in range(100, 10_000):
        memo.put(number, number, 10)
        assert len(memo) <= 100
    assert [memo.get(number) for number in range(10)] == list(range(10))


def test_what_is_used_again_makes_room_for_what_is_used_later() -> None:
    memo: Memo[int, int] = Memo(1_000)
    for number in range(10_000):
        memo.put(number, number, 10)
        assert memo.get(number) == number
        assert len(memo) <= 100
    assert memo.get(9_999) == 9_999
    assert memo.get(0) is None


def test_what_still_is_in_use_outlives_a_change_of_generations() -> None:
    memo: Memo[int, int] = Memo(1_000)
    memo.put(-1, -1, 10)
    for number in range(1_000):
        memo.put(number, number, 10)
        assert (memo.get(-1), memo.get(number)) == (-1, number)


@pytest.mark.parametrize("size", [334, 10_000])
def test_what_is_larger_than_a_part_of_it_is_not_remembered(size: int) -> None:
    memo: Memo[str, int] = Memo(1_000)
    memo.put("large", 1, size)
    assert memo.get("large") is None
    assert len(memo) == 0
