"""Entry keys and scope tags (protocol, section 7)."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizan_core import DeclarationError, entry_key, scope_tag
from mizan_core.protocol.keys import KeyMaker, check_secret
from mizan_core.protocol.values import texts_of
from tests.vectors import Case, load, note

SECRET = "test-pin-secret-that-is-32bytes!"
VECTORS = load("keys.json")

texts = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["", "1", "2", "null"]))
entries = st.tuples(
    st.sampled_from(["user", "order"]),
    texts,
    st.sampled_from([None, "", "0", "1"]),
    st.sampled_from([None, "k1", "k2"]),
    st.integers(0, 2),
)


class TestVectors:
    @pytest.mark.parametrize("case", VECTORS["entry_keys"], ids=note)
    def test_an_entry_has_this_key(self, case: Case) -> None:
        made = entry_key(
            case["secret"],
            case["context"],
            case["params"],
            user_id=case["user_id"],
            permission_key=case["permission_key"],
            rev=case["rev"],
        )
        assert made == case["key"]

    @pytest.mark.parametrize("case", VECTORS["scope_keys"], ids=note)
    def test_a_scope_has_this_tag(self, case: Case) -> None:
        assert scope_tag(case["secret"], case["context"], case["params"]) == case["key"]

    @pytest.mark.parametrize("case", VECTORS["reader_keys"], ids=note)
    def test_the_entry_of_a_reader_alone_has_this_key(self, case: Case) -> None:
        named = {name: case[name] for name in ("user_id", "permission_key", "rev", "reader")}
        assert entry_key(case["secret"], case["context"], case["params"], **named) == case["key"]

    @pytest.mark.parametrize("case", VECTORS["any_tags"], ids=note)
    def test_the_tag_of_all_loose_scopes_is_this(self, case: Case) -> None:
        assert KeyMaker(case["secret"]).any_tag(case["context"]) == case["key"]

    @pytest.mark.parametrize("case", [one for group in VECTORS.values() for one in group], ids=note)
    def test_a_key_is_the_mac_of_the_message_in_the_case(self, case: Case) -> None:
        secret, message = case["secret"].encode(), case["message"].encode()
        kind = "ctx" if "p" in json.loads(message) else "tag"
        assert case["key"] == f"{kind}:{case['context']}:{hmac.new(secret, message, hashlib.sha256).hexdigest()}"

    def test_the_keys_that_are_pinned_across_languages(self) -> None:
        public = "ctx:user:605a1ca5ad5994e9b765c8d1b330474c2a0d51a7b8fbbdc402f992da7ba902f6"
        of_user_five = "ctx:user:30fc08eb46ee4ff2cf7d317e97dca90fd616511e0587304416f71dc863338dc2"
        assert entry_key(SECRET, "user", {"user_id": 5}) == public
        assert entry_key(SECRET, "user", {"user_id": 5}, user_id="5") == of_user_five


class TestEntries:
    @given(entries, entries)
    def test_entry_keys_differ_by_every_part(self, one: Any, other: Any) -> None:
        keys = [
            entry_key(SECRET, context, params, user_id=user, permission_key=permissions, rev=rev)
            for context, params, user, permissions, rev in (one, other)
        ]
        assert (keys[0] == keys[1]) == (one == other)

    @given(texts, texts)
    def test_scope_tags_differ_by_every_part(self, one: dict[str, str], other: dict[str, str]) -> None:
        assert (scope_tag(SECRET, "user", one) == scope_tag(SECRET, "user", other)) == (one == other)

    def test_another_secret_makes_other_keys(self) -> None:
        other = SECRET.upper()
        assert entry_key(other, "user", {}) != entry_key(SECRET, "user", {})
        assert scope_tag(other, "user", {}) != scope_tag(SECRET, "user", {})

    def test_a_secret_is_the_same_as_text_and_as_bytes(self) -> None:
        assert entry_key(SECRET.encode(), "user", {}) == entry_key(SECRET, "user", {})

    def test_null_is_left_out_and_the_word_null_is_not(self) -> None:
        assert texts_of({"a": None, "b": "null", "c": 5}) == {"b": "null", "c": "5"}
        assert entry_key(SECRET, "user", {"a": None}) == entry_key(SECRET, "user", {})
        assert scope_tag(SECRET, "user", {"a": None}) == scope_tag(SECRET, "user", {})
        assert entry_key(SECRET, "user", {"a": "null"}) != entry_key(SECRET, "user", {})

    def test_a_key_maker_can_be_used_again_and_again(self) -> None:
        keys = KeyMaker(SECRET)
        assert keys.tag("user", {"a": "1"}) == keys.tag("user", {"a": "1"}) == scope_tag(SECRET, "user", {"a": 1})
        assert keys.entry("user", {}, user_id="") != keys.entry("user", {})


class TestSecrets:
    def test_a_secret_of_32_bytes_is_taken_as_bytes(self) -> None:
        assert check_secret("cache secret", "é" * 16) == "é".encode() * 16
        assert check_secret("cache secret", b"x" * 32) == b"x" * 32

    @pytest.mark.parametrize("secret", ["x" * 31, b"x" * 31, ""])
    def test_a_shorter_one_is_refused_without_being_shown(self, secret: str | bytes) -> None:
        with pytest.raises(DeclarationError) as refused:
            check_secret("cache secret", secret)
        assert str(refused.value).startswith(f"The cache secret has {len(secret)} bytes and needs at least 32.")
        assert "secrets.token_urlsafe(32)" in str(refused.value)
        assert "xxx" not in str(refused.value)

    def test_a_secret_that_is_no_text_or_bytes_is_refused(self) -> None:
        with pytest.raises(DeclarationError, match="The cache secret is text or bytes, not int"):
            check_secret("cache secret", 5)  # type: ignore[arg-type]
