"""`by_account`: identities that are made from the answer of an account reader, which Mizan keeps and purges."""

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from starlette.requests import Request

from mizan_core.engine.bundle_requests import BundleRequest
from mizan_core.engine.engine import Engine
from mizan_core.errors import DeclarationError, InvalidInput
from mizan_core.graph.declare import declaration_of
from mizan_core.graph.model import ContextPlan, Function
from mizan_core.graph.types.result_fields import fields_of_results
from mizan_core.memo import Memo
from mizan_core.protocol.bodies import parse_json
from mizan_core.protocol.cache_policy import Never
from mizan_core.protocol.identity import ANONYMOUS, Account, Identity

logger = logging.getLogger("mizan")

# Enough for the accounts and identities of some ten thousand users.
REMEMBERED_BYTES = 16 * 1024 * 1024
_IDENTITY_BYTES = 800

# Equal values of one of these types are one user's id.
_PLAIN = frozenset({str, int})

_FIELDS = frozenset(Account.__annotations__)


def by_account(
    account: Callable[..., Any], user_id: Callable[[Request], object | Awaitable[object]]
) -> "AccountAuthenticator":
    """For `Mizan(authenticate=...)`: the identity of the user that `user_id(request)` names, by an account reader.

    `account`: a reader with `private=True` and one parameter, the user's id, in a context of its own. It returns an
    `Account`, or None for a user that does not exist, who is then nobody. Its answers are kept as any reader's are, and
    are purged by the mutations that affect its context. `user_id` is asked for every request, so it should be cheap: a
    signed cookie, a session or a token that it verifies. None is nobody.
    """
    return AccountAuthenticator(account, user_id)


class AccountAuthenticator:
    """An `authenticate=` that asks an account reader by way of the engine's cache."""

    def __init__(self, account: Callable[..., Any], user_id: Callable[[Request], object | Awaitable[object]]) -> None:
        declaration = declaration_of(account)
        if declaration is None:
            raise DeclarationError(f"by_account takes a reader marked with @client, and {account!r} is not.")
        self._declaration = declaration
        self._name = declaration.name
        self._user_id = user_id
        self._asked: Memo[tuple[type, object], BundleRequest] = Memo(REMEMBERED_BYTES)
        self._identities: Memo[tuple[str, str], Identity] = Memo(REMEMBERED_BYTES)
        self._engine: Engine | None = None
        self._plan: ContextPlan
        self._parameter: str

    def attach(self, engine: Engine) -> None:
        """Answer by this engine's cache; `Mizan(authenticate=...)` calls it. Raises `DeclarationError` for a defect."""
        if self._engine not in (None, engine):  # the purges of the one would not reach what the other keeps
            raise DeclarationError(
                f"by_account({self._name}) answers by the cache of another Mizan. Give each a by_account of its own."
            )
        function = engine.graph.function_of(self._declaration)
        plan = None if function is None else engine.graph.contexts.get(function.context or "")
        if function is None or plan is None:
            raise DeclarationError(f"authenticate=by_account({self._name}): the graph has no reader {self._name!r}.")
        bundle = plan.private_bundle
        if bundle is None or [reader.name for reader in bundle.readers] != [function.name]:
            raise DeclarationError(
                f"authenticate=by_account({self._name}): it has to be private=True and alone in its context, for no "
                "client may ask for accounts."
            )
        for defect in _defects(function, bundle):
            raise DeclarationError(f"authenticate=by_account({self._name}): {defect}.")
        self._engine, self._plan = engine, bundle
        (self._parameter,) = bundle.parameters

    async def __call__(self, request: Request) -> Identity | None:
        found = self._user_id(request)
        user_id = await found if inspect.isawaitable(found) else found
        if user_id is None:
            return None
        engine = self._engine
        if engine is None:
            raise DeclarationError(
                f"by_account({self._name}) has no engine yet. Give it to Mizan(authenticate=...) itself, or call its "
                "attach(mizan.engine)."
            )
        asked = self._query(engine, user_id)
        if asked is None:
            return None
        bundle = await engine.answer(asked)
        key = asked.spelling.texts[self._parameter], bundle.etag
        identity = self._identities.get(key)
        if identity is None:
            fields = parse_json(bundle.body)[self._name]
            if fields is None:
                return None
            identity = Identity(key[0], **{name: value for name, value in fields.items() if value is not None})
            self._identities.put(key, identity, _IDENTITY_BYTES + 2 * len(bundle.body))
        return identity

    def _query(self, engine: Engine, user_id: object) -> BundleRequest | None:
        """The request for a user's account, remembered by the id; None for what is no user's id."""
        key = type(user_id), user_id
        asked = self._asked.get(key) if key[0] in _PLAIN else None
        if asked is not None:
            return asked
        try:
            asked = engine.query(self._plan, {self._parameter: user_id}, ANONYMOUS)
        except InvalidInput:
            logger.warning("The user id of a request is no %r of %s: it is nobody's.", self._parameter, self._name)
            return None
        if key[0] in _PLAIN and asked.may_be_remembered:
            self._asked.put(key, asked, asked.size + 2 * len(str(user_id)))
        return asked


def _defects(function: Function, bundle: ContextPlan) -> Iterator[str]:
    """The reasons why a private reader cannot be an account's."""
    if len(function.client_inputs) != 1 or function.identity_params:
        yield f"it takes {', '.join(function.inputs) or 'nothing'}, and has to take the user's id alone"
    if not function.takes_only_inputs:
        yield "it takes the request or an Identity, and is asked before there is an identity"
    if isinstance(bundle.policy.lifetime, Never):
        yield "it has cache=False, so that every request would ask it"
    if not function.has_no_guard:
        yield "it has auth=, and there is no identity yet that a guard could be asked about"
    if function.declaration.route is not None:
        yield "it has a route, by which clients could ask for accounts"
    known = {name for fields in fields_of_results(function.signature.returns) for name in fields}
    if not known or not known <= _FIELDS:
        yield (
            f"it returns {', '.join(sorted(known - _FIELDS)) or 'no fields'}, and an Account has "
            f"{', '.join(sorted(_FIELDS))}"
        )
