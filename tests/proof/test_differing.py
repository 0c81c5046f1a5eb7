"""Where two JSON texts differ, as a path that other tools understand."""

import pytest

from mizan_core.proof import difference


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        (b'{"a":1,"b":2}', b'{"a":1,"b":3}', "$.b"),
        (b'{"a":[1,{"b":2}]}', b'{"a":[1,{"b":3}]}', "$.a[1].b"),
        (b'{"a":[1]}', b'{"a":[1,2]}', "$.a[1]"),
        (b'{"a":[1,2]}', b'{"a":[2]}', "$.a[0]"),
        (b'{"a":1}', b'{"a":1,"c":null}', "$.c"),
        (b'{"a":1,"c":null}', b'{"a":1}', "$.c"),
        (b'{"a b":1}', b'{"a b":2}', "$['a b']"),
        (b'{"a\'\\\\":1}', b'{"a\'\\\\":2}', "$['a\\'\\\\']"),
        (b"1", b"2", "$"),
        (b"1", b"1.0", "$"),
        (b"true", b"1", "$"),
        (b'{"a":1}', b"[1]", "$"),
        (b'{"a":1,"b":2}', b'{"b":2,"a":1}', "$"),
    ],
)
def test_the_first_difference_has_a_path(before: bytes, after: bytes, path: str) -> None:
    assert difference(before, after) == path
