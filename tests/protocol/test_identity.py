"""Identities and permission keys (protocol, sections 1 and 11)."""

import copy
import hashlib
import pickle
import uuid
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from mizan_core import ANONYMOUS, DeclarationError, Identity, permission_key
from tests.vectors import Case, load, note

VECTORS = load("permissions.json")
NO_PERMISSIONS = "4b5963303c1b2933d1e973089cc9edf3494fa700eb61fda164ffbc021b14d581"


class TestPermissionKey:
    @pytest.mark.parametrize("case", VECTORS["permission_keys"], ids=note)
    def test_a_permission_set_has_this_key(self, case: Case) -> None:
        identity = Identity(
            "5", staff=case["staff"], superuser=case["superuser"], permissions=frozenset(case["permissions"])
        )
        assert permission_key(identity) == case["permission_key"]

    def test_a_permission_key_does_not_depend_on_the_user(self) -> None:
        assert permission_key(Identity("5")) == permission_key(Identity("6")) == permission_key(ANONYMOUS)
        assert permission_key(ANONYMOUS) == NO_PERMISSIONS

    def test_permissions_are_sorted_by_utf16_code_unit(self) -> None:
        message = '{"permissions":["𝒳","ｚ"],"staff":false,"superuser":false}'
        identity = Identity(5, permissions=frozenset({"ｚ", "𝒳"}))
        assert permission_key(identity) == hashlib.sha256(message.encode()).hexdigest()

    def test_a_given_key_stands_for_permissions_that_are_not_known(self) -> None:
        assert permission_key(Identity("5", permissions=None, permission_key="k")) == "k"


class TestIdentity:
    @pytest.mark.parametrize(
        ("user_id", "text"),
        [
            (5, "5"),
            ("05", "05"),
            (0, "0"),
            ("", ""),
            (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ],
    )
    def test_a_user_id_is_text_and_authenticates(self, user_id: Any, text: str) -> None:
        identity = Identity(user_id)
        assert identity.user_id == text
        assert type(identity.user_id) is str
        assert identity.is_authenticated

    def test_only_none_is_anonymous(self) -> None:
        assert Identity(None) == ANONYMOUS
        assert not ANONYMOUS.is_authenticated

    def test_permissions_may_be_any_collection_and_become_a_set(self) -> None:
        identity = Identity(5, permissions=["b", "a", "b"])
        assert identity == Identity(5, permissions=frozenset({"a", "b"}))
        assert hash(identity) == hash(Identity(5, permissions=frozenset({"a", "b"})))

    def test_one_text_is_not_a_set_of_permissions(self) -> None:
        with pytest.raises(DeclarationError, match="takes a set of texts, not one text"):
            Identity(5, permissions="admin")

    def test_unknown_permissions_need_a_permission_key(self) -> None:
        with pytest.raises(DeclarationError, match="needs the permission_key that stands for them"):
            Identity(5, permissions=None)

    def test_identities_of_token_and_session_are_equal(self) -> None:
        assert Identity(5, by_token=True) == Identity(5)
        assert "by_token" not in repr(Identity(5, by_token=True))
        assert Identity(5, by_token=True).by_token
        assert not Identity(5).by_token

    def test_an_identity_cannot_be_changed(self) -> None:
        with pytest.raises(FrozenInstanceError):
            Identity(5).superuser = True  # type: ignore[misc]


class TestClaims:
    def test_claims_are_a_copy_that_cannot_be_changed(self) -> None:
        given = {"teams": ["a"], "org": 1}
        me = Identity(5, claims=given)
        given["teams"].append("b")  # type: ignore[attr-defined]  # it is the list above
        assert me.claims == {"teams": ["a"], "org": 1}
        for change in (lambda: me.claims.update(org=2), lambda: me.claims.__setitem__("org", 2)):  # type: ignore[attr-defined]  # they are meant to be refused
            with pytest.raises(TypeError, match="cannot be changed"):
                change()
        assert ANONYMOUS.claims == {}

    def test_identities_with_other_claims_are_not_equal(self) -> None:
        one, same, other = (Identity(5, claims={"org": org}) for org in (1, 1, 2))
        assert one == same != other
        assert hash(one) == hash(same)

    def test_an_identity_with_claims_can_be_pickled(self) -> None:
        me = Identity(None, claims={"org": 1})
        assert pickle.loads(pickle.dumps(me)) == me  # made a line above
        assert copy.deepcopy(me) == me

    @pytest.mark.parametrize("claims", ["org", [("org", 1)], {1: 2}, {"org": object()}, {"org": float("nan")}])
    def test_claims_that_are_no_json_are_refused(self, claims: Any) -> None:
        with pytest.raises(DeclarationError, match="claim"):
            Identity(5, claims=claims)

    def test_claims_are_no_permissions(self) -> None:
        assert permission_key(Identity(5, claims={"org": 1})) == permission_key(Identity(5))
