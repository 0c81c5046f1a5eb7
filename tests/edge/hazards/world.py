"""The declarations behind the edges of these tests: bundles and pages for everyone, and some for one caller alone."""

from typing import Annotated

from starlette.responses import HTMLResponse

from mizan_core import Context, Graph, Me, build, build_manifest, client

Things = Context("things", scopes=[("kind",)])
People = Context("people")


def graph() -> Graph:
    @client(context=Things)
    async def thing(item: int, kind: str = "a") -> int:
        return item

    @client(context=Things, route="/things/{item}/")
    async def thing_page(item: int) -> HTMLResponse:
        return HTMLResponse(str(item))

    @client(context=People)
    async def person(name: str) -> str:
        return name

    @client(context=People, route="/people/{name}/")
    async def person_page(name: str) -> HTMLResponse:
        return HTMLResponse(name)

    @client(context="files", route="/files/{name:path}")
    async def file_page(name: str) -> HTMLResponse:
        return HTMLResponse(name)

    @client(context="mine")
    async def mine(me: Annotated[str, Me]) -> str:
        return me

    @client(context="own", route="/me/{rest:path}")
    async def my_page(rest: str, me: Annotated[str, Me]) -> HTMLResponse:
        return HTMLResponse(me)

    @client(affects=Things, route="/things/{item}/", methods=["POST"])
    async def write(item: int) -> int:
        return item

    @client(affects=People)
    async def rename(name: str) -> None:
        """Says nothing: origins of these tests answer by themselves."""

    @client(context="words", route="/word/{rest:path}")
    async def word_page(rest: str) -> HTMLResponse:
        return HTMLResponse(rest)

    @client(context="secrets", route="/word/secret/", auth=True)
    async def secret_page() -> HTMLResponse:
        return HTMLResponse("secret")

    @client(route="/word/export/{item}/", methods=["GET"])
    async def export(item: int, me: Annotated[str, Me]) -> HTMLResponse:
        return HTMLResponse(me)

    readers = [thing, thing_page, person, person_page, file_page, word_page, secret_page, mine, my_page]
    return build([*readers, export, write, rename])


MANIFEST = build_manifest(graph())
