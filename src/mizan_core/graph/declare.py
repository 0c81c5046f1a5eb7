"""`@client` and its options: a `Declaration` noted on the function. Nothing is registered at import.

A defect of one declaration is raised here, at the decorator. A defect that shows only beside other functions is
reported by `build`.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, overload

from ..errors import DeclarationError
from ..protocol.cache_policy import Lifetime, Per, read_lifetime, read_per
from ..protocol.invalidation import Invalidation
from ..protocol.urls import ROUTE_PARAMETER, route_parameters
from ..protocol.values import check_name
from .access import AuthCheck, Check, Guard, bind_check, read_guard
from .callables import name_of, names_stale, plain_function, standing_for
from .signature import Signature, check_parameters, read_signature
from .types.file_params import mentions_file
from .types.identity_sources import IdentitySource
from .wrapper import joining

F = TypeVar("F", bound=Callable[..., Any])

MARK = "__mizan__"

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Arg:
    """`where(team_id=Arg("from_team"))`: the value of another argument."""

    name: str


@dataclass(frozen=True, slots=True)
class Result:
    """`where(customer_id=Result("customer_id"))`: a field of the result."""

    field: str


Binding: TypeAlias = Arg | Result | IdentitySource


@dataclass(frozen=True, slots=True)
class ByName:
    """Narrowed by the arguments that have the name and the type of a parameter of the context."""


@dataclass(frozen=True, slots=True)
class Where:
    """Narrowed by exactly these bindings."""

    bindings: tuple[tuple[str, Binding], ...]


@dataclass(frozen=True, slots=True)
class Whole:
    """Not narrowed."""


@dataclass(frozen=True, slots=True)
class ByBody:
    """Narrowed by the scopes that the function's body names with `invalidate`."""


Narrowing: TypeAlias = ByName | Where | Whole | ByBody


@dataclass(frozen=True, slots=True)
class Target:
    """One member of `affects`: the name of a context, or of a reader if there is no such context.

    `reader_of`: it is the name of a reader of this context, even if a context has the same name.
    """

    name: str
    narrowing: Narrowing = ByName()
    reader_of: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """A named group of readers that are fetched together.

    `scopes`: sets of parameters by which function bodies narrow it, so that the origin can purge exactly by them.
    `concurrent`: the readers of a bundle run side by side instead of one after the other.
    """

    name: str
    scopes: tuple[tuple[str, ...], ...] = ()
    concurrent: bool = False

    def __init__(self, name: str, *, scopes: Iterable[Iterable[str]] = (), concurrent: bool = False) -> None:
        check_name("context", name)
        shapes = []
        for shape in scopes:
            if isinstance(shape, str):
                raise DeclarationError(
                    f"Context {name!r}: scopes takes tuples of parameter names; write scopes=[({shape!r},)]."
                )
            shapes.append(tuple(sorted(set(shape))))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "scopes", tuple(shapes))
        object.__setattr__(self, "concurrent", bool(concurrent))

    def of(self, **params: object) -> Invalidation:
        """The invalidation of the bundles whose parameters equal these: `Orders.of(customer_id=7)`."""
        return Invalidation(self.name, params)

    def where(self, /, **bindings: Binding) -> Target:
        """This context, narrowed by exactly these bindings of parameters to `Arg`, `Result`, `Me` or `Claim`."""
        if not bindings:
            raise DeclarationError(f"Context {self.name!r}: where() without a binding narrows nothing; use whole().")
        for parameter, binding in bindings.items():
            if not isinstance(binding, Arg | Result | IdentitySource):
                raise DeclarationError(
                    f"Context {self.name!r}: where({parameter}={binding!r}) is neither Arg(...), Result(...) nor Me "
                    "nor Claim(...)."
                )
        return Target(self.name, Where(tuple(sorted(bindings.items()))))

    def whole(self) -> Target:
        """All of this context, even if arguments have the names of its parameters."""
        return Target(self.name, Whole())

    def by_body(self) -> Target:
        """This context, narrowed by the scopes that the body names with `invalidate`; all of it if it names none."""
        return Target(self.name, ByBody())


Affected: TypeAlias = Context | Target | str | Callable[..., Any]
Spared: TypeAlias = Context | str


@dataclass(frozen=True, slots=True)
class Declaration:
    """The options of one `@client`, read and checked. `marked`: its result, the function or a wrapper around it."""

    name: str
    function: Callable[..., Any]
    marked: Callable[..., Any]
    context: Context | None
    affects: tuple[Target, ...]
    spares: tuple[str, ...]  # contexts that it makes stale by nothing that it writes
    guard: Guard
    private: bool
    route: str | None
    methods: tuple[str, ...]
    rev: int
    lifetime: Lifetime
    per: Per | None
    max_upload_bytes: int | None  # of a request with files
    signature: Signature | None  # None if an annotation cannot be resolved yet

    @property
    def route_parameters(self) -> tuple[str, ...]:
        """The names of the path parameters of the route."""
        return route_parameters(self.route or "")


@overload
def client(function: F, /) -> F: ...


@overload
def client(
    *,
    context: Context | str | None = None,
    affects: Affected | Sequence[Affected] | None = None,
    auth: bool | str | AuthCheck | None = None,
    private: bool = False,
    route: str | None = None,
    methods: Sequence[str] | None = None,
    rev: int = 0,
    cache: bool | int = True,
    per: str | None = None,
    name: str | None = None,
    spares: Spared | Sequence[Spared] | None = None,
    max_upload_bytes: int | None = None,
) -> Callable[[F], F]: ...


def client(
    function: F | None = None,
    /,
    *,
    context: Context | str | None = None,
    affects: Affected | Sequence[Affected] | None = None,
    auth: bool | str | AuthCheck | None = None,
    private: bool = False,
    route: str | None = None,
    methods: Sequence[str] | None = None,
    rev: int = 0,
    cache: bool | int = True,
    per: str | None = None,
    name: str | None = None,
    spares: Spared | Sequence[Spared] | None = None,
    max_upload_bytes: int | None = None,
) -> F | Callable[[F], F]:
    """Mark a function that clients may call: a reader (`context`), a mutation (`affects`), or neither.

    The function may be a bound method, a partial or a callable object. If the body of a function calls a mutation, the
    function's answer also names what the mutation makes stale.

    `spares`: the contexts whose answers stay as they are although the function writes what they read (see
    `mizan_core.integrations.sqlalchemy`).

    `auth`: True, "staff", "superuser", or a callable that is given the `Identity` and, by name, arguments. `private`:
    not for clients. `route` and `methods`: the function's own URL. `rev`, `cache` (True, False, or seconds) and `per`
    ("all", "user", "permissions"): a reader's cache policy (protocol, section 6). `name`: what clients call it.
    `max_upload_bytes`: how large a request with files may be, where the limit of all bodies is too small.

    Raises `DeclarationError` with the name, the reason and the remedy.
    """

    def mark(function: F) -> F:
        shown = _shown_name(function, name)
        try:
            targets = _read_affects(affects)
            marked: Any = _marked(function, changes=bool(targets))
            declaration = _declare(
                function,
                marked,
                name=shown,
                context=_read_context(context),
                affects=targets,
                spares=_read_spares(spares),
                guard=read_guard(auth),
                private=_read_flag("private", private),
                route=_read_route(route),
                methods=None if methods is None else _read_methods(methods),
                rev=_read_rev(rev),
                lifetime=read_lifetime(cache),
                per=read_per(per),
                max_upload_bytes=_read_limit(max_upload_bytes),
                # A function that is defined inside another one finds the names in its annotations in that one's frame.
                local_names=sys._getframe(1 if called_with_options else 2).f_locals,  # noqa: SLF001
            )
        except DeclarationError as error:
            raise DeclarationError(f"{shown}: {error}") from None
        setattr(marked, MARK, declaration)
        return marked  # type: ignore[no-any-return]  # it has the signature of `function`

    called_with_options = function is None
    return mark if function is None else mark(function)


def declaration_of(function: object) -> Declaration | None:
    """The declaration on a function, or None. Takes any object, also one that raises when its attributes are read."""
    found = inspect.getattr_static(function, MARK, None)
    return found if isinstance(found, Declaration) else None


def check_signature(declaration: Declaration, signature: Signature) -> Iterable[str]:
    """The defects of a declaration that its signature shows, a sentence each."""
    if signature.is_view and declaration.route is None:
        yield "a function that returns a web response needs a route; give it route='/...'"
    if not signature.is_view and signature.has_view_member:
        yield "it returns a web response or data, depending; annotate it to return one or the other"
    if signature.is_view:
        for target in declaration.affects:
            if isinstance(target.narrowing, Where) and any(isinstance(b, Result) for _, b in target.narrowing.bindings):
                yield "Result(...) has no fields to read from a web response; use Arg(...), Me or invalidate()"
    filled = [name for name in declaration.route_parameters if name in signature.inputs_of_identity]
    if filled:
        yield f"its route has {', '.join(f'{{{name}}}' for name in filled)}, which the caller's identity fills in"
    yield from _file_defects(declaration, signature)
    missing = [name for name in declaration.route_parameters if name not in signature.inputs]
    if missing:
        yield f"its route has {', '.join(f'{{{name}}}' for name in missing)}, which the function does not take"


def _file_defects(declaration: Declaration, signature: Signature) -> Iterable[str]:
    """The defects of a declaration's files, a sentence each."""
    if mentions_file(signature.returns):
        yield "it returns a File, which has no JSON; answer with a response from a view, or with a URL of the file"
    if not signature.files:
        if declaration.max_upload_bytes is not None:
            yield "max_upload_bytes limits requests with files, and it takes none; give it a File or drop the limit"
        return
    name = signature.files[0]
    arguments = declaration.guard.arguments if isinstance(declaration.guard, Check) else ()
    if declaration.context is not None:
        yield f"it takes {name!r}, a file, and a reader is asked by parameters in a URL; let a mutation take it"
    if "GET" in declaration.methods:
        yield f"it takes {name!r}, a file, and a GET has no body to bring one; use methods=['POST']"
    for file in signature.files:
        one = signature.inputs[file]
        if one.source is not None:
            yield f"parameter {file!r} is a file, and no identity has one; drop {one.source!r}"
        if file in declaration.route_parameters:
            yield f"its route has {{{file}}}, which is a file; take it out"
        if (one.argument or file) in arguments:
            yield f"its guard takes {file!r}, a file; let the function look into it, and raise Forbidden"


def _marked(function: Callable[..., Any], *, changes: bool) -> Callable[..., Any]:
    """The object to mark: the function, or a wrapper around a mutation or around a callable that is no function."""
    if declaration_of(function) is not None:
        raise DeclarationError("it is marked with @client already; say everything in one @client.")
    if changes:
        return joining(function, declaration_of)
    return function if inspect.isfunction(function) else standing_for(function)


def _declare(
    function: Callable[..., Any],
    marked: Callable[..., Any],
    *,
    name: str,
    context: Context | None,
    affects: tuple[Target, ...],
    spares: tuple[str, ...],
    guard: Guard,
    private: bool,
    route: str | None,
    methods: tuple[str, ...] | None,
    rev: int,
    lifetime: Lifetime,
    per: Per | None,
    max_upload_bytes: int | None,
    local_names: dict[str, Any],
) -> Declaration:
    check_name("function", name)
    check_parameters(function)
    if context is not None and affects:
        raise DeclarationError("a function either reads (context=) or changes (affects=); split it in two.")
    if context is not None and spares:
        raise DeclarationError("spares speaks of what a function writes, and a reader writes nothing; drop it.")
    if context is None and (rev, lifetime, per) != (0, read_lifetime(True), None):
        raise DeclarationError("rev, cache and per say how a reader is cached; give it a context or drop them.")
    if methods is not None and route is None:
        raise DeclarationError("methods belong to a route; give it route='/...' or drop them.")
    if affects and methods is not None and "GET" in methods:
        raise DeclarationError("a mutation by GET would run whenever somebody follows a link; use POST.")
    if (context is not None or methods == ("GET",)) and names_stale(function):
        what = "a reader" if context is not None else "a route with GET"
        raise DeclarationError(
            f"it calls invalidate(), and {what} changes nothing, for it runs whenever somebody looks; "
            "change things in a mutation, or with methods=['POST']."
        )
    default_methods = ("GET",) if context is not None else ("POST",)
    declaration = Declaration(
        name=name,
        function=function,
        marked=marked,
        context=context,
        affects=affects,
        spares=spares,
        guard=bind_check(guard.check, function) if isinstance(guard, Check) else guard,
        private=private,
        route=route,
        methods=() if route is None else methods or default_methods,
        rev=rev,
        lifetime=lifetime,
        per=per,
        max_upload_bytes=max_upload_bytes,
        signature=_signature_so_far(function, local_names),
    )
    if declaration.signature is not None:
        for defect in check_signature(declaration, declaration.signature):
            raise DeclarationError(f"{defect}.")
    return declaration


def _signature_so_far(function: Callable[..., Any], local_names: dict[str, Any]) -> Signature | None:
    try:
        return read_signature(function, local_names)
    except NameError:  # `build` reads it again, when all names are defined
        return None


def _shown_name(function: object, name: object) -> str:
    if isinstance(function, str | Context | Target):
        raise DeclarationError(
            f"@client({function!r}) does not say whether that is read or changed; use context= or affects=."
        )
    if not callable(function) or plain_function(function) is None:
        raise DeclarationError(
            f"@client marks functions, and {function!r} is not one; put it on a def, a bound method, a partial or an "
            "object that can be called."
        )
    return name_of(function) if name is None else str(name)


def _read_context(context: object) -> Context | None:
    if context is None or isinstance(context, Context):
        return context
    if isinstance(context, str):
        return Context(context)
    raise DeclarationError(f"context={context!r} is neither a Context nor a context's name.")


def _read_affects(affects: object) -> tuple[Target, ...]:
    if affects is None:
        return ()
    members = list(affects) if isinstance(affects, list | tuple | set | frozenset) else [affects]
    if not members:
        raise DeclarationError("affects=[] names nothing; leave it out if the function changes nothing.")
    targets = [target_of(member) for member in members]
    if isinstance(affects, set | frozenset):  # headers and manifests need an order that is the same in every process
        targets.sort(key=repr)
    return tuple(targets)


def _read_spares(spares: object) -> tuple[str, ...]:
    members = list(spares) if isinstance(spares, list | tuple | set | frozenset) else [spares]
    if spares is not None and not members:
        raise DeclarationError("spares=[] names nothing; leave it out if the function spares no context.")
    named = set()
    for member in () if spares is None else members:
        if not isinstance(member, Context | str):
            raise DeclarationError(f"spares={member!r} is neither a Context nor a context's name.")
        name = member.name if isinstance(member, Context) else member
        check_name("context", name)
        named.add(name)
    return tuple(sorted(named))


def target_of(affected: object) -> Target:
    """A member of `affects`, or the first argument of `invalidate`, as a `Target`."""
    if isinstance(affected, Target):
        return affected
    if isinstance(affected, Context):
        return Target(affected.name)
    if isinstance(affected, str):
        check_name("context", affected)
        return Target(affected)
    declaration = declaration_of(affected)
    if declaration is not None:
        if declaration.context is None:
            raise DeclarationError(f"{declaration.name!r} is not a reader, so nothing can make it out of date.")
        return Target(declaration.name, reader_of=declaration.context.name)
    raise DeclarationError(f"{affected!r} is neither a Context, a context's name nor a reader marked with @client.")


def _read_flag(option: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise DeclarationError(f"{option}={value!r} is neither True nor False.")
    return value


def _read_rev(rev: object) -> int:
    if not isinstance(rev, int) or isinstance(rev, bool) or rev < 0:
        raise DeclarationError(f"rev={rev!r} is not a whole number from 0.")
    return rev


def _read_limit(limit: object) -> int | None:
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise DeclarationError(f"max_upload_bytes={limit!r} is not a number of bytes above 0.")
    return limit


def _read_route(route: object) -> str | None:
    if route is None:
        return None
    if not isinstance(route, str) or not route.startswith("/"):
        raise DeclarationError(f"route={route!r} does not start with '/'.")
    names = route_parameters(route)
    if len(set(names)) < len(names):
        raise DeclarationError(f"route={route!r} has one parameter twice.")
    for name in names:
        check_name("route parameter", name)
    if set(ROUTE_PARAMETER.sub("", route)) & set("{}?#"):
        raise DeclarationError(f"route={route!r} is a path such as '/profile/{{user_id}}/', without query or fragment.")
    return route


def _read_methods(methods: object) -> tuple[str, ...]:
    if not isinstance(methods, list | tuple | set | frozenset) or not methods:
        raise DeclarationError(f"methods={methods!r} is not a list of HTTP methods such as ['POST'].")
    read = sorted({str(method).upper() for method in methods})
    unknown = [method for method in read if method not in _METHODS]
    if unknown:
        raise DeclarationError(f"methods={methods!r}: {unknown[0]!r} is none of {', '.join(_METHODS)}.")
    return tuple(read)
