"""Mizan Web Tokens (protocol, section 11)."""

import base64
import hmac
import json
import math
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizan_core import ANONYMOUS, DeclarationError, Identity, TokenError, issue_mwt, permission_key, verify_mwt
from mizan_core.protocol.tokens import check_keys

NOW = 1_800_000_000
OLD, NEW = "old-secret-0123456789abcdef-0123456789", "new-secret-0123456789abcdef-0123456789"
KEYS = {"old": OLD, "new": NEW}
ADA = Identity("5", staff=True, permissions=frozenset({"a.x"}))

CLAIMS: dict[str, Any] = {"sub": "5", "aud": "mizan", "iat": NOW, "exp": NOW + 300}
HEADER: dict[str, Any] = {"alg": "HS256", "kid": "new", "typ": "JWT"}


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(payload: str, header: str, *, secret: str = NEW, digest: str = "sha256") -> str:
    """A token made by hand, so that it can say what no library would sign."""
    signing_input = f"{base64url(header.encode())}.{base64url(payload.encode())}"
    return f"{signing_input}.{base64url(hmac.digest(secret.encode(), signing_input.encode(), digest))}"


def token(header: dict[str, Any] | None = None, /, **claims: Any) -> str:
    """A token like a good one but for these header members and claims; `...` leaves one out."""
    members = [{**HEADER, **(header or {})}, {**CLAIMS, **claims}]
    kept = [json.dumps({name: value for name, value in one.items() if value is not ...}) for one in members]
    return signed(kept[1], kept[0])


def reason(refused: str, *, now: float = NOW, keys: Any = KEYS, audience: str = "mizan") -> str:
    """Why a token is refused."""
    with pytest.raises(TokenError) as error:
        verify_mwt(refused, keys, audience=audience, now=now)
    return str(error.value)


class TestIssuing:
    def test_a_token_carries_user_and_permission_key(self) -> None:
        verified = verify_mwt(issue_mwt(ADA, KEYS, now=NOW), KEYS, now=NOW)
        assert verified == Identity("5", staff=True, permissions=None, permission_key=permission_key(ADA))
        assert verified.by_token
        assert permission_key(verified) == permission_key(ADA)

    @given(
        st.text(max_size=50),
        st.booleans(),
        st.booleans(),
        st.frozensets(st.text(max_size=5), max_size=3),
        st.floats(0, 2e9),
    )
    def test_a_verified_token_gives_back_its_identity(
        self, user_id: str, staff: bool, superuser: bool, permissions: frozenset[str], now: float
    ) -> None:
        identity = Identity(user_id, staff=staff, superuser=superuser, permissions=permissions)
        verified = verify_mwt(issue_mwt(identity, KEYS, now=now), KEYS, now=now)
        assert (verified.user_id, verified.staff, verified.superuser) == (user_id, staff, superuser)
        assert permission_key(verified) == permission_key(identity)

    def test_a_token_is_a_standard_jwt_with_these_members(self) -> None:
        issued = issue_mwt(ADA, KEYS, ttl=60, audience="shop", now=NOW + 0.9)
        assert jwt.get_unverified_header(issued) == HEADER
        assert jwt.decode(issued, options={"verify_signature": False}) == {
            "sub": "5",
            "pkey": permission_key(ADA),
            "staff": True,
            "super": False,
            "aud": "shop",
            "iat": NOW,
            "nbf": NOW,
            "exp": NOW + 60,
        }

    def test_a_token_lives_for_300_seconds_by_default(self) -> None:
        issued = [issue_mwt(ADA, KEYS, now=NOW)] + [issue_mwt(ADA, KEYS, ttl=ttl, now=NOW) for ttl in (0.2, 7.5)]
        claims = [jwt.decode(one, options={"verify_signature": False}) for one in issued]
        assert [one["exp"] - one["iat"] for one in claims] == [300, 1, 8]

    def test_an_anonymous_identity_gets_no_token(self) -> None:
        with pytest.raises(TokenError, match="Nobody cannot have a token"):
            issue_mwt(ANONYMOUS, KEYS, now=NOW)

    @pytest.mark.parametrize("user_id", ["", "0"])
    def test_falsy_user_ids_get_tokens(self, user_id: str) -> None:
        assert verify_mwt(issue_mwt(Identity(user_id), KEYS, now=NOW), KEYS, now=NOW).user_id == user_id

    @pytest.mark.parametrize("ttl", [0, -1, math.nan, math.inf])
    def test_a_lifetime_that_is_none_is_refused(self, ttl: float) -> None:
        with pytest.raises(DeclarationError, match="ttl is a number of seconds above 0"):
            issue_mwt(ADA, KEYS, ttl=ttl, now=NOW)


class TestKeys:
    def test_the_last_key_signs(self) -> None:
        assert jwt.get_unverified_header(issue_mwt(ADA, KEYS, now=NOW))["kid"] == "new"
        assert jwt.get_unverified_header(issue_mwt(ADA, {"new": NEW, "old": OLD}, now=NOW))["kid"] == "old"

    def test_keys_are_rotated_without_an_outage(self) -> None:
        before = issue_mwt(ADA, {"old": OLD}, now=NOW)
        assert verify_mwt(before, KEYS, now=NOW).user_id == "5"
        after = issue_mwt(ADA, KEYS, now=NOW)
        assert verify_mwt(after, KEYS, now=NOW).user_id == "5"
        assert verify_mwt(after, {"new": NEW}, now=NOW).user_id == "5"
        assert reason(before, keys={"new": NEW}) == "its key id is unknown"

    def test_the_key_id_alone_decides_which_key_verifies(self) -> None:
        by_old = signed(json.dumps(CLAIMS), json.dumps(HEADER), secret=OLD)
        assert reason(by_old) == "InvalidSignatureError: not a valid token"
        assert verify_mwt(by_old, {"old": NEW, "new": OLD}, now=NOW).user_id == "5"

    @pytest.mark.parametrize("keys", [{}, {"k": "x" * 31}, {"good": NEW, "k": b"x" * 31}])
    def test_missing_keys_and_short_secrets_are_refused(self, keys: dict[str, Any]) -> None:
        for attempt in (
            lambda: check_keys(keys),
            lambda: issue_mwt(ADA, keys, now=NOW),
            lambda: verify_mwt(token(), keys, now=NOW),
        ):
            with pytest.raises(DeclarationError) as refused:
                attempt()
            assert ("MWT secret 'k' has 31 bytes" if keys else "mwt_keys is empty") in str(refused.value)
            assert "xxx" not in str(refused.value)


class TestVerifying:
    def test_a_plain_jwt_under_the_same_keys_is_believed(self) -> None:
        verified = verify_mwt(token(), KEYS, now=NOW)
        assert verified == Identity("5", permissions=None, permission_key=permission_key(Identity("5")))
        assert verify_mwt(token({"typ": ...}), KEYS, now=NOW) == verified

    def test_a_token_without_permission_key_gets_that_of_its_flags(self) -> None:
        verified = verify_mwt(token(staff=True), KEYS, now=NOW)
        assert verified.permission_key == permission_key(Identity("5", staff=True))

    @pytest.mark.parametrize("claim", ["exp", "iat", "sub", "aud"])
    def test_a_missing_claim_is_refused(self, claim: str) -> None:
        assert reason(token(**{claim: ...})) == f"claim {claim!r} is missing"

    def test_not_before_may_be_missing(self) -> None:
        assert verify_mwt(token(nbf=...), KEYS, now=NOW).user_id == "5"

    @pytest.mark.parametrize(
        ("claim", "values"),
        [
            ("sub", [5, None, True, ["5"], {}]),
            ("pkey", [5, None, ["k"]]),
            ("staff", ["false", "true", 0, 1, None]),
            ("super", ["false", 1, None]),
            ("aud", [5, None, True, {}, {"mizan": 1}, ["mizan", 5]]),
            ("exp", ["1", None, True, False, [NOW], {}]),
            ("iat", ["1", None, True, False, [NOW], {}]),
            ("nbf", ["1", None, True, False, [NOW], {}]),
        ],
    )
    def test_a_claim_of_the_wrong_type_is_refused(self, claim: str, values: list[object]) -> None:
        for wrong in values:
            refusal = reason(token(**{claim: wrong}))
            assert f"claim {claim!r} is not a" in refusal or refusal == "InvalidSubjectError: not a valid token"

    @pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
    @pytest.mark.parametrize("wrong", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
    def test_a_time_that_is_not_finite_is_refused(self, claim: str, wrong: str) -> None:
        payload = json.dumps({**CLAIMS, claim: "WRONG"}).replace('"WRONG"', wrong)
        assert reason(signed(payload, json.dumps(HEADER))) == f"claim {claim!r} is not a number"

    def test_a_time_of_hundreds_of_digits_is_a_time_like_any_other(self) -> None:
        assert verify_mwt(token(exp=10**400), KEYS, now=NOW).user_id == "5"
        assert reason(token(iat=10**400)) == "it is not valid yet"
        assert reason(token(exp=-(10**400))) == "it has expired"

    def test_an_audience_may_be_one_of_several(self) -> None:
        assert verify_mwt(token(aud=["shop", "mizan"]), KEYS, now=NOW).user_id == "5"
        assert verify_mwt(token(aud=["shop"]), KEYS, audience="shop", now=NOW).user_id == "5"

    @pytest.mark.parametrize("audience", ["shop", "", "Mizan", "mizan ", ["shop", "mizan2"], []])
    def test_another_audience_is_refused(self, audience: object) -> None:
        assert reason(token(aud=audience)) == "it is for another audience"


class TestTimes:
    def test_a_token_is_valid_until_five_seconds_after_exp(self) -> None:
        assert verify_mwt(token(exp=NOW), KEYS, now=math.nextafter(NOW + 5, 0)).user_id == "5"
        assert reason(token(exp=NOW), now=NOW + 5) == "it has expired"

    @pytest.mark.parametrize("claim", ["iat", "nbf"])
    def test_a_token_is_valid_from_five_seconds_before_its_start(self, claim: str) -> None:
        begins = token(**{claim: NOW + 100})
        assert verify_mwt(begins, KEYS, now=NOW + 95).user_id == "5"
        assert reason(begins, now=math.nextafter(NOW + 95, 0)) == "it is not valid yet"

    def test_times_may_have_fractions(self) -> None:
        assert verify_mwt(token(exp=NOW + 0.5), KEYS, now=NOW + 5.25).user_id == "5"
        assert reason(token(exp=NOW + 0.5), now=NOW + 5.5) == "it has expired"


class TestForgeries:
    @pytest.mark.parametrize(
        ("algorithm", "digest"), [("HS384", "sha384"), ("HS512", "sha512"), ("hs256", "sha256"), ("RS256", "sha256")]
    )
    def test_another_algorithm_is_refused_though_the_secret_is_right(self, algorithm: str, digest: str) -> None:
        header = json.dumps({**HEADER, "alg": algorithm})
        assert reason(signed(json.dumps(CLAIMS), header, digest=digest)) == "InvalidAlgorithmError: not a valid token"

    @pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, ...])
    @pytest.mark.parametrize("with_signature", [True, False])
    def test_no_algorithm_is_refused(self, algorithm: object, with_signature: bool) -> None:
        made = token({"alg": algorithm})
        assert "not a valid token" in reason(made if with_signature else made[: made.rindex(".") + 1])

    @pytest.mark.parametrize("kid", ["", "nobody", "NEW", "new ", "../new", 5, None, True, ["new"], {"new": 1}, ...])
    def test_a_key_id_that_is_unknown_or_no_text_is_refused(self, kid: object) -> None:
        assert reason(token({"kid": kid})) in ("its key id is unknown", "InvalidTokenError: not a valid token")

    def test_an_extension_that_has_to_be_understood_is_refused(self) -> None:
        assert "not a valid token" in reason(token({"crit": ["exp"], "exp": NOW}))

    @pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c"])
    def test_a_key_that_a_token_brings_along_is_not_used(self, name: str) -> None:
        header = json.dumps({**HEADER, name: {"kty": "oct", "k": base64url(b"attacker" * 4)}})
        by_attacker = signed(json.dumps(CLAIMS), header, secret="attacker" * 4)
        assert reason(by_attacker) == "InvalidSignatureError: not a valid token"

    def test_changing_any_character_of_a_token_makes_it_invalid(self) -> None:
        good = token()
        spare_bits = len(good) - 1  # the last character of a signature has two bits that mean nothing
        for place in range(spare_bits):
            other = "A" if good[place] != "A" else "B"
            with pytest.raises(TokenError):
                verify_mwt(good[:place] + other + good[place + 1 :], KEYS, now=NOW)

    @given(st.text() | st.text(alphabet="aA0-_.=", max_size=40))
    def test_garbage_is_refused_with_nothing_but_a_token_error(self, garbage: str) -> None:
        with pytest.raises(TokenError):
            verify_mwt(garbage, KEYS, now=NOW)

    @pytest.mark.parametrize(
        ("header", "payload"),
        [
            ("[", "{}"),
            ("[]", "{}"),
            ('"text"', "{}"),
            ("null", "{}"),
            (json.dumps(HEADER), "[]"),
            (json.dumps(HEADER), "null"),
            (json.dumps(HEADER), ""),
            (json.dumps(HEADER), "[" * 2000),
            ("[" * 2000, "{}"),
            ('{"a":' * 500, "{}"),
            (json.dumps(HEADER), '{"exp":' + "9" * 1500),
        ],
    )
    def test_a_token_that_is_not_two_json_objects_is_refused(self, header: str, payload: str) -> None:
        assert "not a valid token" in reason(signed(payload, header))

    def test_more_than_4096_bytes_are_refused_unread(self) -> None:
        made = [token({"pad": "z" * few}, x="y" * many) for few in range(3) for many in range(2800, 2950)]
        by_length = {len(one): one for one in made}
        assert verify_mwt(by_length[4096], KEYS, now=NOW).user_id == "5"
        assert reason(by_length[4097]) == "longer than 4096 bytes"
        assert reason("é" * 2049) == "longer than 4096 bytes"

    def test_no_refusal_shows_a_secret_or_the_token(self) -> None:
        by_old = signed(json.dumps(CLAIMS), json.dumps(HEADER), secret=OLD)
        for refused in (by_old, token(exp=0), token(aud="x"), token(sub=5), token({"alg": "none"}), "garbage"):
            told = reason(refused)
            assert not any(piece in told for piece in (OLD, NEW, refused, *refused.split(".")))

    def test_the_tests_signing_helper_signs_as_pyjwt_does(self) -> None:
        assert jwt.decode(token(), NEW, ["HS256"], audience="mizan", options={"verify_exp": False, "verify_iat": False})


class TestClaims:
    def test_a_token_carries_the_claims(self) -> None:
        me = Identity(5, claims={"org": 1, "teams": ["a", "b"]})
        assert verify_mwt(issue_mwt(me, KEYS, now=NOW), KEYS, now=NOW).claims == {"org": 1, "teams": ["a", "b"]}

    def test_a_token_without_claims_says_nothing_of_them(self) -> None:
        token = issue_mwt(Identity(5), KEYS, now=NOW)
        assert "claims" not in jwt.decode(token, options={"verify_signature": False})
        assert verify_mwt(token, KEYS, now=NOW).claims == {}

    def test_a_token_that_claims_make_too_long_is_not_issued(self) -> None:
        with pytest.raises(TokenError, match="no token may have more than 4096"):
            issue_mwt(Identity(5, claims={"notes": "x" * 4096}), KEYS, now=NOW)

    def test_claims_that_are_no_object_are_refused(self) -> None:
        now = int(NOW)
        claims = {"sub": "5", "aud": "mizan", "iat": now, "exp": now + 60, "claims": ["org"]}
        kid, secret = list(KEYS.items())[-1]
        token = jwt.encode(claims, secret, algorithm="HS256", headers={"kid": kid})
        with pytest.raises(TokenError, match="claim 'claims' is not a dict"):
            verify_mwt(token, KEYS, now=NOW)
