"""Who may look at the inspector, and where it is refused."""

import sys
from typing import Any

import pytest

from mizan_asgi.inspector import Inspector
from mizan_core import DeclarationError

from .shop import Shop, browse

PATHS = ["/inspector/", "/inspector/inspector.js", "/inspector/application.json", "/inspector/changes.json"]


async def status(path: str, *, inspector: Any = True, **client: Any) -> int:
    async with browse(Shop().mizan(inspector=inspector), **client) as web:
        return (await web.get(path)).status_code


@pytest.mark.asyncio
@pytest.mark.parametrize("path", PATHS)
async def test_it_is_not_served_unless_asked_for(path: str) -> None:
    assert await status(path, inspector=False) == 404


@pytest.mark.asyncio
@pytest.mark.parametrize("path", PATHS)
async def test_it_answers_loopback_clients_alone(path: str) -> None:
    for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert await status(path, address=address) == 200
    for address in ("192.168.1.7", "8.8.8.8", "::ffff:8.8.8.8", "fe80::1", "testclient", ""):
        assert await status(path, address=address) == 403


@pytest.mark.asyncio
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via"])
async def test_a_request_that_a_proxy_passed_on_is_refused(path: str, header: str) -> None:
    assert await status(path, **{header: "127.0.0.1"}) == 403


@pytest.mark.asyncio
@pytest.mark.parametrize("path", PATHS)
async def test_other_host_names_are_refused_against_rebinding(path: str) -> None:
    for origin in ("http://localhost:8000", "http://app.localhost", "http://127.0.0.1:8000", "http://[::1]:8000"):
        assert await status(path, origin=origin) == 200
    for host in ("evil.example", "localhost.evil.example", "", "[", "localhost:x@evil.example"):
        assert await status(path, Host=host) == 403


@pytest.mark.asyncio
async def test_another_site_may_link_to_the_page_and_read_nothing() -> None:
    for headers in ({"Sec_Fetch_Site": "cross-site"}, {"Origin": "https://evil.example"}):
        assert [await status(path, **headers) for path in PATHS] == [200, 200, 403, 403]
    assert await status("/inspector/changes.json", Sec_Fetch_Site="same-origin") == 200


@pytest.mark.asyncio
async def test_networks_and_hosts_are_opened_by_name() -> None:
    opened = Inspector(clients=["172.16.0.0/12", "10.0.0.7"], hosts=["Dev.Example"])
    for address in ("172.17.0.1", "10.0.0.7"):
        assert await status("/inspector/", inspector=opened, address=address, origin="http://dev.example") == 200
    proxied = {"address": "10.0.0.7", "X_Forwarded_For": "1.2.3.4"}
    assert await status("/inspector/", inspector=opened, **proxied) == 200
    assert await status("/inspector/", inspector=opened, address="10.0.0.8") == 403
    assert await status("/inspector/", inspector=opened) == 403


@pytest.mark.asyncio
async def test_a_refusal_says_what_would_allow_it() -> None:
    async with browse(Shop().mizan(), address="172.17.0.1") as web:
        detail = (await web.get("/inspector/")).json()["detail"]
    assert detail == (
        "The inspector does not answer to 172.17.0.1. Inspector(clients=[...]) names the networks that may look."
    )


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("client", "hosts", "answered"),
    [
        (("127.0.0.1", 1234), [b"localhost"], 200),
        (None, [b"localhost"], 403),
        (("127.0.0.1", 1234), [], 403),
        (("127.0.0.1", 1234), [b"localhost", b"localhost"], 403),
    ],
)
async def test_a_request_needs_one_address_and_one_host(client: Any, hosts: list[bytes], answered: int) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/api/mizan/inspector/", "query_string": b"", "client": client}
    await Shop().mizan()(scope | {"headers": [(b"host", host) for host in hosts]}, None, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == answered


@pytest.mark.parametrize("options", [{"clients": "10.0.0.0/8"}, {"hosts": "dev"}, {"clients": ["localhost"]}])
def test_what_is_no_list_of_networks_is_refused(options: Any) -> None:
    with pytest.raises(DeclarationError, match="Inspector"):
        Inspector(**options)


def test_several_workers_are_refused_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["uvicorn", "--workers", "2"])
    with pytest.raises(DeclarationError, match=r"several workers.*Inspector\(several_workers=True\)"):
        Shop().mizan()
    Shop().mizan(inspector=False)
    Shop().mizan(inspector=Inspector(several_workers=True))


@pytest.mark.parametrize("name", ["WEB_CONCURRENCY", "UVICORN_WORKERS", "GRANIAN_WORKERS"])
def test_several_workers_by_a_variable_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "2")
    with pytest.raises(DeclarationError, match="several workers"):
        Shop().mizan()
    monkeypatch.setenv(name, "1")
    Shop().mizan()


@pytest.mark.asyncio
async def test_other_workers_are_asked_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new connection may be accepted by any of them."""
    async with browse(Shop().mizan()) as web:
        assert "connection" not in (await web.get("/inspector/changes.json")).headers
        assert (await web.get("/inspector/application.json")).json()["several_workers"] is False
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    async with browse(Shop().mizan(inspector=Inspector(several_workers=True))) as web:
        assert (await web.get("/inspector/changes.json")).headers["connection"] == "close"
        assert (await web.get("/inspector/application.json")).json()["several_workers"] is True
