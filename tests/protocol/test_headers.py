"""The codec of `X-Mizan-Invalidate` (protocol, section 5)."""

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from mizan_core import HeaderError, Invalidation, decode_header, encode_header
from mizan_core.errors import MizanError
from tests.vectors import Case, load, note

VECTORS = load("header.json")
LIMIT = 4096

names = st.text(min_size=1, max_size=12)
values = st.text(max_size=12) | st.none() | st.integers() | st.booleans() | st.lists(st.integers(), max_size=3)
invalidations = st.builds(
    Invalidation, names, st.dictionaries(names, values, max_size=3), function=st.none() | names.map(str)
)
# Few contexts and long values, so that lines pass the limit and contexts have several entries.
long_invalidations = st.builds(
    Invalidation,
    st.sampled_from(["a", "bb", "c" * 64]),
    st.dictionaries(st.sampled_from("xyz"), st.integers(0, 900).map("é".__mul__), max_size=2),
    function=st.sampled_from([None, "f", "g"]),
)


def entry(one: Any) -> Invalidation:
    """An entry of `invalidate` as the vectors have it."""
    if isinstance(one, str):
        return Invalidation(one)
    return Invalidation(one["context"], one.get("params", {}), one.get("function"))


def covers(wide: Invalidation, narrow: Invalidation) -> bool:
    """Whether everything that the one makes stale is made stale by the other."""
    same_readers = wide.context == narrow.context and wide.function in (None, narrow.function)
    return wide == narrow or (same_readers and not wide.texts)


class TestVectors:
    @pytest.mark.parametrize("case", VECTORS["round_trip"], ids=note)
    def test_an_answer_is_written_as_this_header_and_read_back(self, case: Case) -> None:
        assert encode_header(map(entry, case["invalidate"])) == case["header"]
        assert [(one.context, one.function, dict(one.params)) for one in decode_header(case["header"])] == [
            (one["context"], one["function"], one["params"]) for one in case["decoded"]
        ]

    @pytest.mark.parametrize("case", VECTORS["round_trip"], ids=note)
    def test_a_decoded_header_is_encoded_as_before(self, case: Case) -> None:
        assert encode_header(decode_header(case["header"])) == case["header"]

    @pytest.mark.parametrize("case", VECTORS["tolerated"], ids=note)
    def test_other_spellings_of_the_header_are_read(self, case: Case) -> None:
        assert [(one.context, one.function, dict(one.params)) for one in decode_header(case["header"])] == [
            (one["context"], one["function"], one["params"]) for one in case["decoded"]
        ]

    @pytest.mark.parametrize("case", VECTORS["refused"], ids=note)
    def test_this_header_is_refused(self, case: Case) -> None:
        with pytest.raises(HeaderError):
            decode_header(case["header"])


class TestWriting:
    @given(st.lists(invalidations, max_size=4))
    def test_an_encoded_header_is_decoded_back(self, entries: list[Invalidation]) -> None:
        decoded = decode_header(encode_header(entries))
        assert decoded == tuple(entries)
        assert all(type(value) is str for one in decoded for value in one.params.values())

    @given(st.lists(invalidations, max_size=4))
    def test_a_header_has_only_characters_that_the_grammar_allows(self, entries: list[Invalidation]) -> None:
        text = r"(?:[A-Za-z0-9\-._~]|%[0-9A-F]{2})"
        grammar = rf"{text}+(?:/{text}+)?(?:;{text}+={text}*)*"
        for piece in filter(None, encode_header(entries).split(", ")):
            assert re.fullmatch(grammar, piece)

    def test_nothing_out_of_date_is_an_empty_header(self) -> None:
        assert encode_header([]) == ""

    def test_a_null_is_left_out(self) -> None:
        assert encode_header([Invalidation("user", {"a": None, "b": "null"})]) == "user;b=null"

    def test_repeated_entries_are_kept(self) -> None:
        assert encode_header(iter([Invalidation("a"), Invalidation("a")])) == "a, a"

    @pytest.mark.parametrize(
        ("unwritable", "message"),
        [
            (Invalidation("user", {"x": float("nan")}), "An invalidation of 'user' has a value that cannot be written"),
            (Invalidation("user", {"x": "\ud83e"}), "An invalidation of 'user' has a value that cannot be written"),
            (Invalidation("", {"x": 1}), "An empty text cannot name a context"),
            (Invalidation("user", {"": 1}), "An empty text cannot name a parameter"),
            (Invalidation("user", {}, ""), "An empty text cannot name a function"),
        ],
    )
    def test_an_entry_that_could_not_be_decoded_is_not_encoded(self, unwritable: Invalidation, message: str) -> None:
        with pytest.raises(HeaderError, match=message):
            encode_header([Invalidation("fine"), unwritable])


class TestReading:
    @given(st.text() | st.text(alphabet="ab;=,/%41 \t\r\né\x00", max_size=20))
    @example("%c3%28")
    @example("a;b=%ED%A0%80")
    @example("a;;b=1")
    def test_garbage_raises_nothing_but_a_header_error(self, text: str) -> None:
        with suppress(HeaderError):
            decoded = decode_header(text)
            assert decode_header(encode_header(decoded)) == decoded

    def test_the_error_can_be_caught_as_a_value_error_and_as_mizans(self) -> None:
        assert issubclass(HeaderError, ValueError)
        assert issubclass(HeaderError, MizanError)

    @pytest.mark.parametrize("sign", "!$&'()*+:@-._~")
    def test_signs_that_need_no_encoding_are_read(self, sign: str) -> None:
        assert decode_header(f"a{sign};b{sign}={sign}c") == (Invalidation(f"a{sign}", {f"b{sign}": f"{sign}c"}),)

    @pytest.mark.parametrize("sign", [*'"<>?#[]\\^`{}|', "\x00", "\n", "\r", "\x7f", " ", "\t", "é", "٣"])
    def test_any_other_raw_sign_is_refused_with_the_piece(self, sign: str) -> None:
        with pytest.raises(HeaderError) as refused:
            decode_header(f"fine, user;name=a{sign}b")
        assert repr(f"a{sign}b") in str(refused.value)
        assert repr(f"user;name=a{sign}b") in str(refused.value)

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            ("user;user_id", "'user_id' in 'user;user_id' is not of the form name=value"),
            ("user;", "'' in 'user;' is not of the form name=value"),
            ("user;=5", "'user;=5' lacks the name of a parameter"),
            (";user_id=5", "';user_id=5' lacks the name of a context"),
            ("/f", "'/f' lacks the name of a context"),
            ("user/", "'user/' lacks the name of a function"),
            ("user;a=1;%61=2", "'user;a=1;%61=2' has the parameter 'a' twice"),
            ("user;a=1=2", "'1=2' in 'user;a=1=2' has a character"),
            ("user;a=%4", "'%4' in 'user;a=%4' has a character or a percent sign"),
            ("user;a=%C3%28", "'%C3%28' in 'user;a=%C3%28' is not UTF-8"),
            ("user a", "'user a' in 'user a' has a character"),
            ("user ;a=1", "'user ' in 'user ;a=1' has a character"),
        ],
    )
    def test_a_refusal_names_the_offending_piece(self, header: str, message: str) -> None:
        with pytest.raises(HeaderError) as refused:
            decode_header(header)
        assert message in str(refused.value)

    def test_white_space_around_the_line_and_its_commas_is_skipped(self) -> None:
        assert decode_header(" \ta \t,\t b ,,") == (Invalidation("a"), Invalidation("b"))


class TestLength:
    @given(st.lists(long_invalidations, max_size=8))
    def test_a_line_is_no_longer_than_the_limit_and_nothing_is_lost(self, entries: list[Invalidation]) -> None:
        line = encode_header(entries)
        assert len(line) <= LIMIT
        for one in entries:
            assert any(covers(written, one) for written in decode_header(line))

    @given(st.lists(long_invalidations, max_size=8))
    def test_a_line_that_fits_is_written_in_full(self, entries: list[Invalidation]) -> None:
        in_full = ", ".join(encode_header([one]) for one in entries)
        assume(len(in_full) <= LIMIT and decode_header(in_full) == tuple(entries))
        assert encode_header(entries) == in_full

    @pytest.mark.parametrize(("length", "in_full"), [(LIMIT, True), (LIMIT + 1, False)])
    def test_the_limit_is_4096_bytes(self, length: int, in_full: bool) -> None:
        line = encode_header([Invalidation("user", {"q": "x" * (length - len("user;q="))})])
        assert (len(line) == length) == in_full
        assert (line == "user") == (not in_full)

    def test_the_largest_group_is_widened_first(self) -> None:
        small = [Invalidation("small", {"id": number}) for number in range(3)]
        large = [Invalidation("large", {"id": number}) for number in range(400)]
        line = encode_header([small[0], *large[:200], small[1], *large[200:], small[2]])
        assert line == "small;id=0, large, small;id=1, small;id=2"

    def test_a_groups_size_counts_functions_and_whole_entries(self) -> None:
        signals = [Invalidation("two", {}, "f" * 1500), Invalidation("two", {}, "g" * 1500), Invalidation("two")]
        one_long = Invalidation("one", {"q": "x" * 2000})
        assert encode_header([one_long, *signals]) == f"one;q={'x' * 2000}, two"

    def test_groups_are_widened_until_it_fits(self) -> None:
        entries = [Invalidation(context, {"q": "x" * 3000}) for context in ("a", "bb", "ccc")]
        assert encode_header(entries) == f"a;q={'x' * 3000}, bb, ccc"

    def test_only_whole_contexts_may_make_a_longer_line(self) -> None:
        contexts = [Invalidation("c" * 60 + str(number)) for number in range(100, 170)]
        line = encode_header([*contexts, Invalidation("scoped", {"id": 1}), Invalidation("signal", {}, "f")])
        assert len(line) > LIMIT
        assert decode_header(line) == (*contexts, Invalidation("scoped"), Invalidation("signal"))
