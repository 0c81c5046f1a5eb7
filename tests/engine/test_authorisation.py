"""Guards (auth=): which callers are let through, and when a token's permissions are loaded."""

from typing import Any

import pytest

from mizan_core import (
    ANONYMOUS,
    DeclarationError,
    Forbidden,
    Identity,
    Unauthorized,
    client,
)
from tests.engine.engines import ANN, engine_of
from tests.virtual_time import run


class TestGuards:
    @pytest.mark.parametrize(
        ("auth", "identity", "error"),
        [
            (True, ANONYMOUS, Unauthorized),
            (True, ANN, None),
            ("staff", ANONYMOUS, Unauthorized),
            ("staff", ANN, Forbidden),
            ("staff", Identity("1", staff=True), None),
            ("staff", Identity("1", superuser=True), None),
            ("superuser", Identity("1", staff=True), Forbidden),
            ("superuser", Identity("1", superuser=True), None),
            ("superuser", Identity(None, superuser=True), Unauthorized),
        ],
    )
    def test_auth_lets_through_by_identity(self, auth: Any, identity: Identity, error: type[Exception] | None) -> None:
        @client(auth=auth)
        async def act() -> int:
            return 1

        async def story() -> None:
            engine = engine_of(act)
            if error is None:
                assert (await engine.call("act", {}, identity=identity)).result == 1
            else:
                with pytest.raises(error):
                    await engine.call("act", {}, identity=identity)
            assert (await engine.run("act", {})).result == 1

        run(story)

    def test_authorisation_comes_before_validation(self) -> None:
        @client(auth=True)
        async def act(number: int) -> int:
            return number

        async def story() -> None:
            with pytest.raises(Unauthorized):
                await engine_of(act).call("act", {"number": "x"})

        run(story)

    def test_a_tokens_permissions_are_loaded_when_a_guard_reads_them(self) -> None:
        token = Identity("1", permissions=None, permission_key="k")
        loaded: list[str | None] = []

        async def load(identity: Identity) -> list[str]:
            loaded.append(identity.user_id)
            return ["close"]

        async def may_close(identity: Identity) -> bool:
            return identity.permissions is not None and "close" in identity.permissions

        @client(auth=may_close)
        async def close() -> int:
            return 1

        @client(auth=lambda identity: "close" in identity.permissions)
        async def close_bluntly() -> int:
            return 1

        @client(auth=lambda identity: identity.user_id == "1")
        async def own() -> int:
            return 1

        async def story() -> None:
            engine = engine_of(close, close_bluntly, own, permissions=load)
            assert (await engine.call("own", {}, identity=token)).result == 1
            assert loaded == []
            assert (await engine.call("close", {}, identity=token)).result == 1
            assert (await engine.call("close_bluntly", {}, identity=token)).result == 1
            assert loaded == ["1", "1"]
            with pytest.raises(DeclarationError, match=r"close asks for identity\.permissions.*permissions="):
                await engine_of(close).call("close", {}, identity=token)

        run(story)

    def test_permissions_may_be_loaded_by_a_plain_function(self) -> None:
        @client(auth=lambda identity: "close" in identity.permissions)
        async def close() -> int:
            return 1

        async def story() -> None:
            engine = engine_of(close, permissions=lambda identity: {"open"})
            with pytest.raises(Forbidden):
                await engine.call("close", {}, identity=Identity("1", permissions=None, permission_key="k"))

        run(story)

    def test_an_error_in_a_guard_that_asked_for_nothing_is_its_own(self) -> None:
        def broken(identity: Identity) -> bool:
            raise ZeroDivisionError

        @client(auth=broken)
        async def act() -> int:
            return 1

        async def story() -> None:
            with pytest.raises(ZeroDivisionError):
                await engine_of(act).call("act", {}, identity=Identity("1", permissions=None, permission_key="k"))

        run(story)
