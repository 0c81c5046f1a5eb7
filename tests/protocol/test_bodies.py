"""Bytes in and out: JSON, the body of a call, the one error body, and the policy headers' texts."""

import enum
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizan_core import BadRequest, CallError, Conflict, DeclarationError, Invalidation, InvalidInput, NotFound
from mizan_core.errors import (
    Forbidden,
    InternalError,
    MethodNotAllowed,
    PayloadTooLarge,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from mizan_core.protocol.bodies import (
    as_arguments,
    call_body,
    encode_json,
    invalidation_json,
    parse_call,
    parse_json,
    read_invalidations,
)
from mizan_core.protocol.cache_headers import NO_STORE, PRIVATE, PRIVATE_NO_STORE, VARY, cache_control, etag_of
from mizan_core.protocol.cache_policy import CachePolicy, Never, Per, Seconds, UntilPurged
from mizan_core.protocol.problems import no_such_context, no_such_function, problem, read_problem

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class TestJson:
    def test_json_is_sorted_at_every_level_and_compact(self) -> None:
        value = {"b": [{"z": 1, "a": "é🦀\u2028/"}], "a": None, "B": True}
        assert encode_json(value).decode() == '{"B":true,"a":null,"b":[{"a":"é🦀\u2028/","z":1}]}'

    @given(plain_values, st.integers(2**64))
    def test_a_large_integer_changes_nothing_but_itself(self, value: Any, large: int) -> None:
        assert encode_json([value, large]) == b"[%b,%d]" % (encode_json(value), large)

    @pytest.mark.parametrize("value", [2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1])
    def test_an_integer_keeps_every_digit_at_every_depth(self, value: int) -> None:
        written = encode_json({"b": ([{"n": value}],), "a": value, "c": True})
        assert written == b'{"a":%d,"b":[[{"n":%d}]],"c":true}' % (value, value)

    def test_there_may_be_five_thousand_digits(self) -> None:
        assert encode_json([10**4999 + 7, -(10**4999)]) == b"[1" + b"0" * 4998 + b"7,-1" + b"0" * 4999 + b"]"

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_nan_and_infinity_are_null(self, value: float) -> None:
        assert encode_json([value, 1]) == b"[null,1]"
        assert encode_json([value, 2**70]) == b"[null,%d]" % 2**70

    @pytest.mark.parametrize("value", [object(), [2**70, object()], "\ud83e", {"\ud83e": 2**70}, {5: 2**70}, {(): 1}])
    def test_values_without_json_raise_type_or_value_error(self, value: object) -> None:
        with pytest.raises((TypeError, ValueError)):
            encode_json(value)


class TestReading:
    @pytest.mark.parametrize(
        ("body", "value"),
        [
            (b' {"a": [1, 2.5, null, true]} ', {"a": [1, 2.5, None, True]}),
            (b"9007199254740993", 9007199254740993),
            (str(2**200).encode(), 2**200),
            ("“é🦀”".join('""').encode(), "“é🦀”"),
            (b'"\\u00e9\\ud83e\\udd80"', "é🦀"),
        ],
    )
    def test_json_is_read_with_every_digit(self, body: bytes, value: object) -> None:
        assert parse_json(body) == value

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"{}{}",
            b"'x'",
            b"nul",
            b"NaN",
            b'{"a": Infinity}',
            b"-Infinity",
            b'"\xff"',
            b'"\\ud83e"',
            b"\xef\xbb\xbf{}",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b"1" * 5000,
        ],
        ids=range(14),
    )
    def test_invalid_json_is_a_bad_request(self, body: bytes) -> None:
        with pytest.raises(BadRequest, match="not JSON that can be read"):
            parse_json(body)

    @given(plain_values)
    def test_encoded_json_is_read_back(self, value: Any) -> None:
        assert parse_json(encode_json(value)) == json.loads(json.dumps(value), parse_constant=lambda _: None)

    @pytest.mark.parametrize(
        ("body", "call"),
        [
            (b'{"fn": "f", "args": {"a": 1}}', ("f", {"a": 1})),
            (b'{"fn": "f"}', ("f", {})),
            (b'{"fn": "", "args": {}}', ("", {})),
        ],
    )
    def test_a_call_names_a_function_and_its_arguments(self, body: bytes, call: object) -> None:
        assert parse_call(body) == call

    @pytest.mark.parametrize(
        ("body", "error", "detail"),
        [
            (b"", BadRequest, "The body is missing"),
            *[(body, BadRequest, "not a JSON object") for body in (b"[]", b"null", b'"x"', b"5", b"true")],
            *[(body, BadRequest, "'fn' is missing") for body in (b"{}", b'{"fn":[]}', b'{"fn":null}', b'{"fn":5}')],
            (b'{"fn":"f","arg":{}}', BadRequest, "other than 'fn' and 'args'"),
            *[
                (b'{"fn":"f","args":%b}' % args, InvalidInput, "The input does not fit")
                for args in (b"[1]", b"null", b'"x"', b"5")
            ],
        ],
    )
    def test_anything_else_is_refused(self, body: bytes, error: type[CallError], detail: str) -> None:
        with pytest.raises(error) as refused:
            parse_call(body)
        assert detail in refused.value.detail

    def test_arguments_are_an_object(self) -> None:
        assert as_arguments({"a": 1}) == {"a": 1}
        with pytest.raises(InvalidInput) as refused:
            as_arguments([1])
        assert refused.value.errors == ({"loc": ["args"], "msg": "Input should be an object", "type": "dict_type"},)


class Color(enum.Enum):
    RED = "red"


class TestAnswers:
    def test_an_entry_is_a_name_or_an_object_with_params(self) -> None:
        entries = [
            Invalidation("a"),
            Invalidation("b", {"x": None}),
            Invalidation("c", {"x": 5, "y": [1.5, "1"], "z": None, "color": Color.RED}),
            Invalidation("d", {}, "f"),
            Invalidation("d", {"x": True}, "f"),
        ]
        assert invalidation_json(entries) == [
            "a",
            "b",
            {"context": "c", "params": {"x": 5, "y": [1.5, "1"], "color": "red"}},
            {"context": "d", "function": "f"},
            {"context": "d", "function": "f", "params": {"x": True}},
        ]

    def test_an_answer_is_the_result_and_its_invalidations(self) -> None:
        assert call_body(b'{"x":1}', []) == b'{"result":{"x":1}}'
        assert call_body(b"null", iter([Invalidation("user", {"user_id": 2**70})])) == (
            b'{"invalidate":[{"context":"user","params":{"user_id":%d}}],"result":null}' % 2**70
        )

    def test_an_etag_is_weak_and_a_digest_of_the_body(self) -> None:
        assert etag_of(b"{}") == 'W/"44136fa355b3678a1146ad16f7e8649e"'
        assert etag_of(b"{}") != etag_of(b"[]")


class Unprintable:
    def __str__(self) -> str:
        return "made up"


class TestProblems:
    @pytest.mark.parametrize(
        ("error", "status", "code", "title"),
        [
            (BadRequest(), 400, "bad_request", "Bad Request"),
            (Unauthorized(), 401, "unauthorized", "Unauthorized"),
            (Forbidden(), 403, "forbidden", "Forbidden"),
            (NotFound(), 404, "not_found", "Not Found"),
            (no_such_function(), 404, "not_found", "Not Found"),
            (no_such_context(), 404, "not_found", "Not Found"),
            (MethodNotAllowed(["GET", "HEAD"]), 405, "method_not_allowed", "Method Not Allowed"),
            (Conflict(), 409, "conflict", "Conflict"),
            (PayloadTooLarge(5), 413, "payload_too_large", None),
            (UnsupportedMediaType(), 415, "unsupported_media_type", "Unsupported Media Type"),
            (InvalidInput(), 422, "invalid_input", None),
            (InternalError(), 500, "internal_error", "Internal Server Error"),
            (Unavailable(), 503, "unavailable", "Service Unavailable"),
            (CallError("x", status=418, code="teapot"), 418, "teapot", "I'm a Teapot"),
            (CallError("x", status=499, code="gone_away"), 499, "gone_away", "Error"),
        ],
    )
    def test_every_error_is_a_problem_document(
        self, error: CallError, status: int, code: str, title: str | None
    ) -> None:
        told = problem(error)
        document = json.loads(told.body)
        assert told.status == document["status"] == status
        assert document["type"] == "about:blank"
        assert (document["code"], document["detail"]) == (code, error.detail)
        assert document["title"] == title or title is None
        assert "errors" not in document

    def test_only_invalid_input_lists_errors(self) -> None:
        listed = {"loc": ["args", "user_id"], "msg": "Field required", "type": "missing"}
        assert json.loads(problem(InvalidInput(errors=[listed])).body)["errors"] == [listed]

    @pytest.mark.parametrize(("detail", "told"), [("\ud83e", "\ud83e"), (Unprintable(), "made up"), (2**70, 2**70)])
    def test_any_detail_of_a_function_is_told(self, detail: Any, told: object) -> None:
        document = json.loads(problem(Conflict(detail)).body)
        assert document["detail"] == told
        assert document["code"] == "conflict"

    def test_details_name_allowed_methods_and_the_limit(self) -> None:
        assert MethodNotAllowed(["GET", "HEAD"]).detail.endswith("Use GET or HEAD.")
        assert MethodNotAllowed(["GET", "HEAD"]).allow == ("GET", "HEAD")
        assert "5 bytes" in PayloadTooLarge(5).detail

    @pytest.mark.parametrize("status", [200, 302, 399, 600])
    def test_a_status_outside_400_to_599_is_a_declaration_error(self, status: int) -> None:
        with pytest.raises(DeclarationError, match=f"from 400 to 599, not {status}"):
            CallError("x", status=status, code="x")


class TestReadingAnswers:
    @pytest.mark.parametrize(
        "error",
        [
            *(BadRequest("So."), Unauthorized(), Forbidden(), NotFound(), Conflict(), UnsupportedMediaType()),
            *(InternalError(), Unavailable(), InvalidInput("No.", [{"loc": ["a"], "msg": "b", "type": "c"}])),
            CallError("Too early.", status=425, code="too_early"),
        ],
    )
    def test_a_problem_is_read_back_as_its_error(self, error: CallError) -> None:
        told = problem(error)
        read = read_problem(told.status, told.body)
        assert type(read) is type(error)
        assert (read.status, read.code, read.detail) == (error.status, error.code, error.detail)
        assert getattr(read, "errors", ()) == getattr(error, "errors", ())

    @pytest.mark.parametrize(
        ("error", "detail"),
        [(PayloadTooLarge(5), "5 bytes"), (MethodNotAllowed(["GET"]), "Use GET"), (NotFound(), "nothing here")],
    )
    def test_a_problem_without_a_class_is_read_by_its_code(self, error: CallError, detail: str) -> None:
        read = read_problem(418, problem(error).body)
        assert (type(read), read.status, read.code) == (CallError, 418, error.code)
        assert detail in read.detail

    @pytest.mark.parametrize(
        ("status", "body", "read_as"),
        [
            (502, b"<h1>Bad gateway</h1>", 502),
            (404, b'{"detail": "Not Found"}', 404),
            (404, b'{"code": 5}', 404),
            (404, b'["code"]', 404),
            (200, b'{"code": "not_found"}', 502),
            (302, b"", 502),
            (999, b"", 502),
        ],
    )
    def test_a_foreign_problem_is_an_http_error(self, status: int, body: bytes, read_as: int) -> None:
        read = read_problem(status, body)
        assert (read.status, read.code) == (read_as, "http_error")
        assert str(status) in read.detail

    def test_a_detail_that_is_no_text_is_read_as_its_json(self) -> None:
        read = read_problem(400, b'{"code": "bad_request", "detail": {"reason": [1]}}')
        assert (type(read), read.detail) == (BadRequest, '{"reason":[1]}')

    def test_errors_that_are_no_list_are_none(self) -> None:
        read = read_problem(422, b'{"code": "invalid_input", "errors": {"a": 1}}')
        assert isinstance(read, InvalidInput)
        assert (read.detail, read.errors) == ("", ())

    def test_encoded_invalidations_are_read_back(self) -> None:
        entries = [
            Invalidation("user"),
            Invalidation("user", {"user_id": 5, "tags": ["a", 2**70]}),
            Invalidation("user", {}, "profile"),
            Invalidation("user", {"user_id": 5}, "profile"),
        ]
        assert list(read_invalidations(invalidation_json(entries))) == entries

    @pytest.mark.parametrize(
        "entries", [None, {}, "user", [5], [{}], [{"context": 5}], [{"context": "a", "params": []}], [["user"]]]
    )
    def test_malformed_invalidations_are_refused(self, entries: object) -> None:
        with pytest.raises(BadRequest):
            read_invalidations(entries)

    def test_a_function_is_named_by_a_text(self) -> None:
        with pytest.raises(BadRequest):
            read_invalidations([{"context": "user", "function": 5}])


class TestCacheControl:
    @pytest.mark.parametrize(
        ("lifetime", "per", "guarded", "remaining", "control"),
        [
            (UntilPurged(), Per.ALL, False, None, "public, max-age=0, must-revalidate, s-maxage=31536000"),
            (Seconds(60), Per.ALL, False, None, "public, max-age=0, must-revalidate, s-maxage=60"),
            (Seconds(60), Per.ALL, False, 30.9, "public, max-age=0, must-revalidate, s-maxage=30"),
            (Seconds(60), Per.ALL, False, 90.0, "public, max-age=0, must-revalidate, s-maxage=60"),
            (Seconds(60), Per.ALL, False, -1.0, "public, max-age=0, must-revalidate, s-maxage=0"),
            (UntilPurged(), Per.ALL, True, None, PRIVATE),
            (Seconds(60), Per.USER, False, None, PRIVATE),
            (UntilPurged(), Per.PERMISSIONS, False, 5.0, PRIVATE),
            (Never(), Per.ALL, False, None, NO_STORE),
            (Never(), Per.USER, True, None, NO_STORE),
        ],
    )
    def test_a_policy_is_written_so(
        self, lifetime: Any, per: Per, guarded: bool, remaining: float | None, control: str
    ) -> None:
        assert cache_control(CachePolicy(0, lifetime, per, guarded), remaining) == control

    def test_private_revalidates_and_no_store_is_never_kept(self) -> None:
        assert (PRIVATE, NO_STORE, PRIVATE_NO_STORE) == ("private, no-cache", "no-store", "private, no-store")
        assert VARY == "Authorization, Cookie, X-Mizan-Token"
