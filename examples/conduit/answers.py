"""Mizan's answers at the specification's URLs."""

import json
from collections.abc import Callable
from typing import Any

from fastapi import Request, Response

from mizan_asgi import Mizan
from mizan_core import ANONYMOUS, Context, encode_header

from .accounts import authenticate


async def respond(mizan: Mizan, request: Request, what: Context | Callable[..., Any], **params: object) -> Response:
    identity = authenticate(request) or ANONYMOUS
    headers: dict[str, str] = {}
    if isinstance(what, Context) or what.__name__ in {"feed", "article_list"}:
        context = (
            what.name if isinstance(what, Context) else {"feed": "feed", "article_list": "articles"}[what.__name__]
        )
        bundle = await mizan.engine.fetch(context, params, identity=identity, request=request)
        body = bundle.body
        headers["cache-status"] = f"mizan; {bundle.status}"
        if not isinstance(what, Context):
            body = json.dumps(json.loads(body)[what.__name__]).encode()
    else:
        answer = await mizan.engine.call(what.__name__, params, identity=identity, request=request)
        body = json.dumps(json.loads(answer.body)["result"]).encode()
        headers["x-mizan-invalidate"] = encode_header(answer.invalidations)
    return Response(body, media_type="application/json", headers=headers)
