"""Closing, real sockets, and an installation without httpx."""

import asyncio
import importlib
import socket
import subprocess
import sys

import httpx
import pytest

from mizan_asgi.client import Client
from mizan_core import CallError
from tests.client.transport import ADA, BASE, Wire
from tests.http.servers import listening, uvicorn_process
from tests.http.site import Site


class TestClosing:
    @pytest.mark.asyncio
    async def test_closing_ends_everything(self, wire: Wire) -> None:
        before = asyncio.all_tasks()
        mizan = Client(BASE, transport=wire)
        shown = mizan.subscribe("user", user_id=5)
        await anext(shown)
        wire.hold()
        step, asking = asyncio.create_task(anext(shown)), asyncio.create_task(mizan.fetch("user", user_id=7))
        again = asyncio.create_task(mizan.fetch("user", user_id=5))
        calling = asyncio.create_task(mizan.call("update_profile", user_id=9, name="Eve"))
        await asyncio.sleep(0)
        await mizan.aclose()
        with pytest.raises(StopAsyncIteration):
            await step
        for one in (asking, again, calling):
            with pytest.raises(RuntimeError, match="closed"):
                await one
        assert asyncio.all_tasks() <= before


class TestSockets:
    @pytest.mark.asyncio
    async def test_the_client_works_over_a_socket(self, site: Site) -> None:
        async with listening(site.mizan()) as (host, port), Client(f"http://{host}:{port}/api/mizan") as mizan:
            shown = mizan.subscribe("user", user_id=5)
            assert await anext(shown) == ADA
            await mizan.call("update_profile", user_id=5, name="Eve")
            assert (await anext(shown))["user_profile"]["name"] == "Eve"

    @pytest.mark.asyncio
    async def test_a_closed_port_raises_connect_error(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        async with Client(f"http://127.0.0.1:{port}/api/mizan") as mizan:
            for asking in (mizan.fetch("user", user_id=5), mizan.call("echo"), anext(mizan.subscribe("user"))):
                with pytest.raises(httpx.ConnectError):
                    await asking

    @pytest.mark.asyncio
    async def test_a_server_that_goes_away_raises_httpx_transport_error(self) -> None:
        with uvicorn_process("tests.http.served:host") as served:
            async with Client(f"{served.url}/api/mizan", timeout=50) as mizan:
                assert await mizan.fetch("user", user_id=5) == ADA
                with pytest.raises(CallError) as failed:
                    await mizan.call("explode", user_id=5)
                assert failed.value.status == 500
                assert (await mizan.fetch("user", user_id=5))["user_profile"]["name"] == "half done"
                served.process.terminate()
                await asyncio.to_thread(served.process.wait, 50)
                with pytest.raises(httpx.TransportError):
                    await mizan.fetch("user", user_id=5)


class TestImporting:
    def test_without_httpx_only_the_client_fails_with_a_remedy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        program = "import sys; sys.modules['httpx'] = None; import mizan_asgi; print(mizan_asgi.Mizan.__name__)"
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert ran.stdout.split() == ["Mizan"]
        monkeypatch.setitem(sys.modules, "httpx", None)
        monkeypatch.delitem(sys.modules, "mizan_asgi.client")
        with pytest.raises(ImportError, match=r"pip install 'mizan-asgi\[client\]'"):
            importlib.import_module("mizan_asgi.client")
