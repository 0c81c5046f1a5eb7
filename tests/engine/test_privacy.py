"""Answers that read their caller are not shared: watched requests and identities, pages, and errors."""

import asyncio
import copy
import logging
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from mizan_core import ANONYMOUS, Arg, Conflict, Context, Engine, Identity, NotFound, client
from mizan_core.engine.answers import Page
from mizan_core.engine.privacy import Notice, watch_identity
from mizan_core.errors import Unauthorized
from mizan_core.protocol.cache_policy import CachePolicy, Never, Per, Seconds, UntilPurged
from tests.engine.engines import engine_of
from tests.virtual_time import run

PUBLIC = "public, max-age=0, must-revalidate, s-maxage=31536000"


@dataclass(frozen=True)
class Visit:
    """A request that knows only the name of its caller."""

    name: str
    notice: Notice | None = None

    def plain(self) -> "Visit":
        return self

    def watched(self, notice: Notice) -> "Visit":
        return Visit(self.name, notice)

    @property
    def user(self) -> str:
        if self.notice is not None:
            self.notice("user")
        return self.name


class HtmlPage:
    """As small as a web response can be."""

    def __init__(self, text: str, status_code: int = 200) -> None:
        self.body = text.encode()
        self.status_code = status_code
        self.raw_headers = [(b"content-type", b"text/html")]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError


def test_a_request_joined_to_a_personal_one_computes_its_own(caplog: pytest.LogCaptureFixture) -> None:
    go_on = asyncio.Event()

    @client(context="page")
    async def greeting(request: object) -> str:
        await go_on.wait()
        return f"Hello {request.user}"  # type: ignore[attr-defined]

    async def story() -> None:
        engine = engine_of(greeting)
        visits = [asyncio.create_task(engine.fetch("page", {}, request=Visit(name))) for name in ("Ann", "Bob")]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        go_on.set()
        bundles = [await visit for visit in visits]
        assert [bundle.body for bundle in bundles] == [b'{"greeting":"Hello Ann"}', b'{"greeting":"Hello Bob"}']
        assert {bundle.policy for bundle in bundles} == {"private, no-store"}
        assert (await engine.fetch("page", {}, request=Visit("Eve"))).body == b'{"greeting":"Hello Eve"}'

    run(story)
    assert len(caplog.records) == 3
    assert "greeting looked at who asks (user)" in caplog.text
    assert "per='user'" in caplog.text


def test_an_error_that_reads_the_identity_is_not_shared() -> None:
    go_on = asyncio.Event()

    @client(context="page")
    async def greeting(request: object) -> str:
        await go_on.wait()
        raise Conflict(f"Not for {request.user}")  # type: ignore[attr-defined]

    async def story() -> None:
        engine = engine_of(greeting)
        visits = [engine.fetch("page", {}, request=Visit(name)) for name in ("Ann", "Bob")]
        gathering = asyncio.gather(*visits, return_exceptions=True)
        await asyncio.sleep(0.01)
        go_on.set()
        assert [str(error) for error in await gathering] == ["Not for Ann", "Not for Bob"]

    run(story)


def test_a_per_user_bundle_may_read_the_identity(caplog: pytest.LogCaptureFixture) -> None:
    @client(context="page", per="user")
    async def greeting(request: object) -> str:
        return f"Hello {request.user}"  # type: ignore[attr-defined]

    async def story() -> None:
        engine = engine_of(greeting)
        for status in ("miss", "hit"):
            bundle = await engine.fetch("page", {}, identity=Identity("1"), request=Visit("Ann"))
            assert (bundle.status, bundle.body) == (status, b'{"greeting":"Hello Ann"}')

    with caplog.at_level(logging.WARNING):
        run(story)
    assert caplog.records == []


def test_a_watched_identity_is_the_same_identity() -> None:
    seen: list[str] = []
    ann = Identity("1", staff=True, permissions=frozenset({"read"}))
    watched = watch_identity(ann, frozenset({"staff", "permissions"}), seen.append)
    assert isinstance(watched, Identity)
    assert (watched.staff, watched.permissions, seen) == (True, {"read"}, [])
    assert watched.user_id == "1"
    assert watched.is_authenticated
    assert seen == ["user_id", "is_authenticated"]


def test_a_watched_identity_is_compared_and_copied_with_notice() -> None:
    seen: list[str] = []
    ann = Identity("1", staff=True)
    watched = watch_identity(ann, frozenset({"staff"}), seen.append)
    for one in (lambda: watched == ann, lambda: ann == watched, lambda: hash(watched) == hash(ann)):
        seen.clear()
        assert one()
        assert seen
    for copied in (copy.copy(watched), replace(watched, superuser=False), pickle.loads(pickle.dumps(watched))):
        assert copied == ann
        assert type(copied) is Identity
    assert repr(watched) == repr(ann)


class TestPages:
    user = Context("user")

    def page(self, **options: Any) -> Callable[..., Any]:
        @client(context=self.user, route="/profile/{user_id}/", **options)
        async def profile(request: object, user_id: int, tab: str = "new") -> HtmlPage:
            return HtmlPage(f"{user_id} {request.user if options.get('per') == 'user' else ''}")  # type: ignore[attr-defined]

        return profile

    def test_an_undisturbed_page_may_be_kept_at_its_canonical_path(self) -> None:
        async def story() -> None:
            page = await engine_of(self.page()).page("profile", {"user_id": "05"}, request=Visit("Ann"))
            assert (page.path, page.keepable, page.personal) == ("/profile/5/", True, False)
            assert page.cache_control(200, canonical_url=True) == PUBLIC

        run(story)

    def test_a_page_purged_or_held_meanwhile_may_not_be_kept(self) -> None:
        making, go_on = asyncio.Event(), asyncio.Event()

        @client(context=self.user, route="/profile/{user_id}/")
        async def profile(user_id: int) -> HtmlPage:
            making.set()
            await go_on.wait()
            return HtmlPage("old")

        @client(affects=self.user)
        async def rename(user_id: int) -> None:
            making.clear()
            await making.wait()

        async def story() -> None:
            engine = engine_of(profile, rename)
            purged = asyncio.create_task(engine.page("profile", {"user_id": 5}))
            await making.wait()
            renaming = asyncio.create_task(engine.call("rename", {"user_id": 5}))
            await asyncio.sleep(0)
            held = asyncio.create_task(engine.page("profile", {"user_id": 5}))
            await making.wait()
            await renaming
            go_on.set()
            assert not (await purged).keepable
            assert not (await held).keepable
            assert (await engine.page("profile", {"user_id": 5})).keepable

        run(story)

    def test_a_page_made_inside_its_mutation_may_not_be_kept(self) -> None:
        engines: list[Engine] = []

        @client(context=self.user, route="/profile/{user_id}/")
        async def profile(user_id: int) -> HtmlPage:
            return HtmlPage("old")

        @client(affects=self.user)
        async def rename(user_id: int) -> bool:
            return (await engines[0].page("profile", {"user_id": user_id})).keepable

        async def story() -> None:
            engines.append(engine_of(profile, rename))
            assert (await engines[0].page("profile", {"user_id": 5})).keepable
            for _ in range(2):
                assert (await engines[0].call("rename", {"user_id": 5})).result is False

        run(story)

    def test_a_page_narrowed_less_than_its_context_may_be_kept(self) -> None:
        @client(context=self.user)
        async def activity(user_id: int, page: int = 1) -> int:
            return page

        @client(context=self.user, route="/profile/{user_id}/")
        async def profile(user_id: int) -> HtmlPage:
            return HtmlPage("x")

        @client(affects=self.user.where(user_id=Arg("user_id"), page=Arg("page")))
        async def turn(user_id: int, page: int) -> None:
            pass

        @client(affects=self.user)
        async def rename(user_id: int, page: int) -> None:
            pass

        async def story() -> None:
            assert (await engine_of(activity, profile, rename).page("profile", {"user_id": 5})).keepable
            engine = engine_of(activity, profile, turn)
            for _ in range(2):
                page = await engine.page("profile", {"user_id": 5})
                assert page.keepable
            assert page.cache_status == "mizan; hit"
            await engine.call("turn", {"user_id": 7, "page": 2})
            assert (await engine.page("profile", {"user_id": 5})).cache_status != "mizan; hit"
            assert (await engine_of(activity, profile).page("profile", {"user_id": 5})).keepable

        run(story)

    def test_a_per_user_page_that_looks_is_a_visitors_own(self) -> None:
        async def story() -> None:
            engine = engine_of(self.page(per="user"))
            page = await engine.page("profile", {"user_id": 5}, identity=ANONYMOUS, request=Visit("Ann"))
            assert page.cache_control(200, canonical_url=True) == "no-store"
            page = await engine.page("profile", {"user_id": 5}, identity=Identity("1"), request=Visit("Ann"))
            assert page.cache_control(200, canonical_url=True) == "private, no-cache"

        run(story)

    def test_a_page_that_reads_the_identity_is_personal(self) -> None:
        @client(context=self.user, route="/profile/{user_id}/")
        async def profile(request: object, user_id: int) -> HtmlPage:
            if user_id == 0:
                raise NotFound(request.user)  # type: ignore[attr-defined]
            return HtmlPage(request.user)  # type: ignore[attr-defined]

        async def story() -> None:
            engine = engine_of(profile)
            page = await engine.page("profile", {"user_id": 5}, request=Visit("Ann"))
            assert page.cache_control(200, canonical_url=True) == "private, no-store"
            with pytest.raises(NotFound, match="Ann"):
                await engine.page("profile", {"user_id": 0}, request=Visit("Ann"))

        run(story)

    def test_data_behind_a_route_is_its_json(self) -> None:
        @client(context=self.user, route="/data/{user_id}/", private=True, auth=True)
        async def data(user_id: int) -> dict[str, int]:
            return {"b": user_id, "a": 1}

        async def story() -> None:
            engine = engine_of(data)
            page = await engine.page("data", {"user_id": 5}, identity=Identity("1"))
            assert page.result == b'{"a":1,"b":5}'
            with pytest.raises(Unauthorized):
                await engine.page("data", {"user_id": 5})
            answer = await engine.run("data", {"user_id": 5})
            assert (answer.result, answer.body) == ({"b": 5, "a": 1}, b'{"result":{"a":1,"b":5}}')

        run(story)

    def test_a_view_that_the_server_runs_answers_its_response(self) -> None:
        async def story() -> None:
            answer = await engine_of(self.page()).run("profile", {"user_id": 5})
            assert isinstance(answer.result, HtmlPage)
            assert answer.body == b""

        run(story)

    @pytest.mark.parametrize(("status", "stale"), [(200, True), (303, True), (500, True), (404, False), (422, False)])
    def test_a_mutation_view_purges_unless_it_refused(self, status: int, stale: bool) -> None:
        @client(context="board")
        async def board() -> int:
            return 1

        @client(affects="board", route="/rename/")
        async def rename() -> HtmlPage:
            return HtmlPage("", status)

        async def story() -> None:
            engine = engine_of(board, rename)
            await engine.fetch("board", {})
            answer = await engine.run("rename", {})
            assert bool(answer.invalidations) is stale
            assert (await engine.fetch("board", {})).status == ("miss" if stale else "hit")

        run(story)


def page_of(policy: CachePolicy, *, keepable: bool = True) -> Page:
    return Page(result=None, policy=policy, keepable=keepable, personal=False, path="/")


@pytest.mark.parametrize(
    ("own", "answer"),
    [
        (None, PUBLIC),
        ("no-store", "no-store"),
        ("private, max-age=5", "private, max-age=5"),
        ("no-cache", "no-cache"),
        ("public, max-age=10", "public, max-age=0, must-revalidate, s-maxage=10"),
        ("max-age=10, s-maxage=20", "public, max-age=0, must-revalidate, s-maxage=20"),
        ("public, s-maxage=99999999999", PUBLIC),
        ("public, max-age=x", PUBLIC),
        ("must-revalidate", PUBLIC),
    ],
)
def test_a_response_may_only_tighten_its_policy(own: str | None, answer: str) -> None:
    page = page_of(CachePolicy(rev=0, lifetime=UntilPurged(), per=Per.ALL, guarded=False))
    assert page.cache_control(200, canonical_url=True, own=own) == answer


@pytest.mark.parametrize(
    ("policy", "status", "facts", "answer"),
    [
        (CachePolicy(0, UntilPurged(), Per.ALL, False), 404, {}, "no-store"),
        (CachePolicy(0, UntilPurged(), Per.ALL, False), 200, {"canonical_url": False}, "no-store"),
        (CachePolicy(0, UntilPurged(), Per.ALL, False), 200, {"sets_cookie": True}, "private, no-cache"),
        (CachePolicy(0, UntilPurged(), Per.ALL, False), 200, {"varies": True}, "private, no-cache"),
        (CachePolicy(0, UntilPurged(), Per.ALL, True), 200, {}, "private, no-cache"),
        (CachePolicy(0, UntilPurged(), Per.USER, True), 200, {"sets_cookie": True}, "private, no-cache"),
        (CachePolicy(0, Never(), Per.ALL, False), 200, {}, "no-store"),
        (CachePolicy(0, Seconds(60), Per.ALL, False), 200, {}, "public, max-age=0, must-revalidate, s-maxage=60"),
    ],
)
def test_cache_control_of_a_page(policy: CachePolicy, status: int, facts: dict[str, Any], answer: str) -> None:
    assert page_of(policy).cache_control(status, **({"canonical_url": True} | facts)) == answer
