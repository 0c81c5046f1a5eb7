"""The rules of narrowing, one by one (protocol, section 4). Their combinations are in test_narrowing_model.py."""

import asyncio
import copy
import pickle
import uuid
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, NewType

import pytest
from pydantic import BaseModel, PositiveInt
from starlette.responses import HTMLResponse

from mizan_core import (
    ANONYMOUS,
    Arg,
    Context,
    DeclarationError,
    Graph,
    Identity,
    Invalidation,
    InvalidInput,
    Me,
    Result,
    build,
    decode_header,
    encode_header,
    invalidate,
)
from mizan_core.engine.current_call import CurrentCall, current
from mizan_core.graph.narrowing import MAXIMUM_ENTRIES, Outcome, Refused, Returned, Running, Unknown, named, resolve
from mizan_core.protocol.invalidation import merge, touches
from tests.declaring import mutation, reader

USER, ORDERS, TAGS = Context("user"), Context("orders"), Context("tags")
BOTH = USER.where(user_id=Arg("user_id"), page=Arg("page"))
PositiveId = NewType("PositiveId", PositiveInt)
OtherId = Annotated[int, "other"]
PROFILE = reader("profile", USER, user_id=int, page=(int, 1))
READERS = [
    PROFILE,
    reader("list_orders", ORDERS, customer_id=int | None, day=str),
    reader("by_tags", TAGS, tags=list[int]),
    reader("inbox", "inbox"),
    reader("sales", "sales", day=str, shop=int),
]
ADA = Identity("7")


class Shipment(BaseModel):
    customer_id: int | None
    day: str = "mon"


def stale(
    mutating: Any,
    sent: dict[str, Any] | None = None,
    *,
    outcome: Outcome | None = None,
    identity: Identity = ADA,
    body: Iterable[Invalidation] = (),
) -> list[Any]:
    """The invalidations of a call to this mutation, each as `(context, params)` or `(context/function, params)`."""
    graph = build([*READERS, mutating])
    function = graph.functions[mutating.__name__]
    arguments = function.validator.validate(sent or {})
    found = resolve(graph, function, arguments, identity, outcome or Returned(None), list(body))
    return [(f"{one.context}/{one.function}" if one.function else one.context, dict(one.params)) for one in found]


class TestInvalidation:
    def test_an_encoded_invalidation_can_be_pickled_and_copied(self) -> None:
        written = Invalidation("user", {"user_id": 5})
        assert encode_header([written]) == "user;user_id=5"
        for again in (pickle.loads(pickle.dumps(written)), copy.deepcopy(written)):
            assert again == written
            assert encode_header([again]) == "user;user_id=5"

    def test_two_are_equal_if_their_canonical_texts_are(self) -> None:
        assert Invalidation("user", {"user_id": 5, "x": None}) == Invalidation("user", {"user_id": "5"})
        assert hash(Invalidation("user", {"a": 1.0, "b": True})) == hash(Invalidation("user", {"b": "true", "a": 1}))
        assert decode_header("user/profile;user_id=5") == (Invalidation("user", {"user_id": 5}, "profile"),)

    @pytest.mark.parametrize(
        "other",
        [
            Invalidation("users", {"user_id": 5}),
            Invalidation("user", {"user_id": 6}),
            Invalidation("user", {"user_id": 5, "page": 1}),
            Invalidation("user", {"user_id": 5}, "profile"),
            Invalidation("user"),
            "user;user_id=5",
        ],
    )
    def test_any_difference_makes_two_invalidations(self, other: object) -> None:
        assert Invalidation("user", {"user_id": 5}) != other

    def test_one_without_parameters_or_with_nulls_alone_is_whole(self) -> None:
        assert Invalidation("user").is_whole
        assert Invalidation("user", {"user_id": None}).is_whole
        assert Invalidation("user", {}, "profile").is_whole
        assert not Invalidation("user", {"user_id": ""}).is_whole


class TestTouching:
    @pytest.mark.parametrize(
        ("entry", "touched"),
        [
            ("user", True),
            ("user;user_id=5", True),
            ("user/profile;user_id=5", True),
            ("user;user_id=5;page=1", True),
            ("user;user_id=5;page=2", False),
            ("user;user_id=05", False),
            ("users;user_id=5", False),
            ("user;team_id=3", True),
            ("user;owner_id=null", False),
        ],
    )
    def test_a_bundle_is_touched_unless_a_parameter_sets_it_apart(self, entry: str, touched: bool) -> None:
        texts = {"user_id": "5", "page": "1", "owner_id": None}
        assert touches(decode_header(entry)[0], "user", texts) is touched

    def test_values_and_texts_are_compared_as_texts(self) -> None:
        assert touches(Invalidation("user", {"user_id": 5, "page": None}), "user", {"user_id": "5"})


class TestByArgumentName:
    def test_arguments_that_are_parameters_of_the_context_narrow_it(self) -> None:
        update = mutation("update", USER, user_id=int, name=str, page=(int, 1))
        assert stale(update, {"user_id": 5, "name": "Ada"}) == [("user", {"user_id": 5})]
        sell = mutation("sell", "sales", shop=int, day=str)
        assert stale(sell, {"shop": 5, "day": "mon"}) == [("sales", {"day": "mon", "shop": 5})]

    def test_an_argument_optional_for_a_reader_does_not_narrow(self) -> None:
        update = mutation("update", USER, user_id=int, page=int)
        assert stale(update, {"user_id": 5, "page": 1}) == [("user", {"user_id": 5})]
        order = mutation("order", ORDERS, customer_id=int, day=str)
        assert stale(order, {"customer_id": 5, "day": "mon"}) == [("orders", {"day": "mon"})]
        assert stale(mutation("m", USER.where(page=Arg("page")), page=int), {"page": 1}) == [("user", {"page": 1})]

    @pytest.mark.parametrize(
        "optional", [{"options": {"private": True}}, {"options": {"route": "/{x}/"}}], ids=["private", "page"]
    )
    def test_one_reader_with_an_optional_parameter_is_enough(self, optional: Any) -> None:
        kind = int if "private" in optional["options"] else HTMLResponse
        graph = build(
            [
                reader("r", "c", x=int),
                reader("s", "c", kind, options=optional["options"], x=(int, 1)),
                mutation("m", "c", x=int),
            ]
        )
        assert resolve(graph, graph.functions["m"], {"x": 1}, ADA, Running()) == (Invalidation("c"),)

    def test_a_missing_a_defaulted_and_a_null_argument_mean_wider(self) -> None:
        assert stale(mutation("m", USER, user_id=(int, 5))) == [("user", {})]
        assert stale(mutation("m", USER, user_id=int | None), {"user_id": None}) == [("user", {})]
        assert stale(mutation("m", USER, name=str), {"name": "x"}) == [("user", {})]

    def test_an_undeclared_argument_is_refused_and_narrows_nothing(self) -> None:
        with pytest.raises(InvalidInput):
            stale(mutation("m", USER, name=str), {"name": "x", "user_id": 5})

    def test_the_callers_identity_narrows_nothing_by_itself(self) -> None:
        with_identity = mutation("m", USER, user_id=Identity)
        assert stale(with_identity) == [("user", {})]

    @pytest.mark.parametrize("kind", [str, float, uuid.UUID, bool, Literal[5], int | str, PositiveId, OtherId])
    def test_an_argument_of_another_type_does_not_narrow(self, kind: Any) -> None:
        value = str(uuid.UUID(int=5)) if kind is uuid.UUID else True if kind is bool else 5
        assert stale(mutation("m", USER, user_id=kind), {"user_id": "5" if kind is str else value}) == [("user", {})]

    def test_an_invalid_value_leaves_the_others_narrowing(self) -> None:
        both = mutation("m", Context("user").where(user_id=Arg("user_id"), page=Arg("page")), user_id=str, page=int)
        assert stale(both, {"user_id": "x", "page": 2}) == [("user", {"page": 2})]

    @pytest.mark.parametrize(
        ("ids", "narrowed"),
        [
            ([5, 6, 5], [{"user_id": 5}, {"user_id": 6}]),
            ([5], [{"user_id": 5}]),
            ([], [{}]),
            ([5, None], [{}]),
        ],
    )
    def test_a_list_gives_an_entry_for_each_distinct_element(self, ids: Any, narrowed: Any) -> None:
        several = mutation("m", USER, user_id=list[int | None])
        assert stale(several, {"user_id": ids}) == [("user", params) for params in narrowed]

    def test_several_lists_give_their_product(self) -> None:
        several = mutation("m", BOTH, user_id=list[int], page=set[int])
        assert stale(several, {"user_id": [7, 5], "page": [2, 1]}) == [
            ("user", {"page": page, "user_id": user_id}) for page in (1, 2) for user_id in (7, 5)
        ]

    @pytest.mark.parametrize(
        ("pages", "ids", "entries", "narrowed_by"),
        [
            (0, MAXIMUM_ENTRIES, 64, {"user_id"}),
            (0, MAXIMUM_ENTRIES + 1, 1, set()),
            (8, 8, 64, {"page", "user_id"}),
            (8, 9, 8, {"page"}),
            (65, 9, 9, {"user_id"}),
        ],
    )
    def test_beyond_64_entries_a_parameter_does_not_narrow(
        self, pages: int, ids: int, entries: int, narrowed_by: set[str]
    ) -> None:
        several = mutation("m", BOTH, user_id=list[int], page=list[int])
        found = stale(several, {"user_id": [*range(ids), 0], "page": list(range(pages))})
        assert len(found) == entries
        assert all(set(params) == narrowed_by for _, params in found)

    def test_a_list_is_one_value_where_the_parameter_is_a_list(self) -> None:
        assert stale(mutation("m", TAGS, tags=list[int]), {"tags": [2, 1]}) == [("tags", {"tags": [2, 1]})]
        assert stale(mutation("m", TAGS, tags=list[int]), {"tags": []}) == [("tags", {"tags": []})]
        assert stale(mutation("m", TAGS, tags=int), {"tags": 2}) == [("tags", {})]

    def test_naming_a_reader_narrows_its_context_to_that_reader(self) -> None:
        assert stale(mutation("m", PROFILE, user_id=int), {"user_id": 5}) == [("user/profile", {"user_id": 5})]
        assert stale(mutation("m", "profile")) == [("user/profile", {})]

    def test_an_iterator_is_not_consumed_for_narrowing(self) -> None:
        lazy = mutation("m", USER, user_id=Iterable[int])
        graph = build([*READERS, lazy])
        sent = graph.functions["m"].validator.validate({"user_id": [5, 6]})
        assert resolve(graph, graph.functions["m"], sent, ADA, Running()) == (Invalidation("user"),)
        assert list(sent["user_id"]) == [5, 6]


class TestByDeclaration:
    def test_arguments_the_result_and_the_caller_can_be_bound(self) -> None:
        bound = ORDERS.where(customer_id=Arg("from_customer"), day=Result("day"))
        assert stale(
            mutation("m", [bound, USER.where(user_id=Me)], Shipment, from_customer=int),
            {"from_customer": 3},
            outcome=Returned(Shipment(customer_id=1, day="tue")),
        ) == [("orders", {"customer_id": 3, "day": "tue"}), ("user", {"user_id": 7})]

    @pytest.mark.parametrize("result", [{"customer_id": 3}, Shipment(customer_id=3)])
    def test_a_field_is_read_from_a_mapping_or_an_object(self, result: Any) -> None:
        bound = mutation("m", ORDERS.where(customer_id=Result("customer_id")), Any)
        assert stale(bound, outcome=Returned(result)) == [("orders", {"customer_id": 3})]

    @pytest.mark.parametrize("result", [Shipment(customer_id=None), {}, None, 5])
    def test_a_binding_that_yields_null_means_whole(self, result: Any) -> None:
        bound = ORDERS.where(customer_id=Result("customer_id"), day=Arg("day"))
        assert stale(mutation("m", bound, Any, day=str), {"day": "mon"}, outcome=Returned(result)) == [("orders", {})]

    def test_an_omitted_argument_or_anonymous_caller_is_whole(self) -> None:
        assert stale(mutation("m", USER.where(user_id=Arg("user")), user=(int, 5))) == [("user", {})]
        assert stale(mutation("m", USER.where(user_id=Me)), identity=ANONYMOUS) == [("user", {})]

    def test_an_invalid_bound_value_leaves_the_others_narrowing(self) -> None:
        bound = mutation("m", USER.where(user_id=Me, page=Arg("number")), number=int)
        assert stale(bound, {"number": 2}, identity=Identity("ada")) == [("user", {"page": 2})]

    def test_a_bound_list_gives_an_entry_for_each_element(self) -> None:
        bound = mutation("m", USER.where(user_id=Result("ids")), dict[str, Any])
        assert stale(bound, outcome=Returned({"ids": [5, "6", 5]})) == [
            ("user", {"user_id": 5}),
            ("user", {"user_id": 6}),
        ]

    def test_a_nan_does_not_prevent_the_purge(self) -> None:
        graph = build([reader("r", "near", lat=float), mutation("m", Context("near").where(lat=Result("lat")), Any)])
        outcome = Returned({"lat": float("nan")})
        assert resolve(graph, graph.functions["m"], {}, ADA, outcome) == (Invalidation("near"),)

    def test_whole_ignores_the_arguments_names(self) -> None:
        assert stale(mutation("m", USER.whole(), user_id=int), {"user_id": 5}) == [("user", {})]


BODY = [Invalidation("orders", {"customer_id": 1}), Invalidation("orders", {"customer_id": 2})]
SCOPED = [("orders", {"customer_id": 1}), ("orders", {"customer_id": 2})]


class TestByBody:
    def test_exactly_the_scopes_named_by_the_body_are_stale(self) -> None:
        assert stale(mutation("m", ORDERS.by_body()), body=BODY) == SCOPED

    def test_a_context_without_named_scopes_is_stale_whole(self) -> None:
        assert stale(mutation("m", ORDERS.by_body())) == [("orders", {})]
        other = Invalidation("user", {"user_id": 5})
        assert stale(mutation("m", ORDERS.by_body()), body=[other]) == [("orders", {}), ("user", {"user_id": 5})]

    def test_a_body_adds_to_the_declared_scopes(self) -> None:
        assert stale(mutation("m", "inbox"), body=BODY) == [("inbox", {}), *SCOPED]
        assert stale(mutation("m", None), body=BODY) == SCOPED


EVERYTHING = [
    USER,
    ORDERS.where(customer_id=Result("customer_id"), day=Arg("day")),
    TAGS.by_body(),
    Context("inbox").whole(),
]


class TestOutcomes:
    @pytest.mark.parametrize(
        ("outcome", "expected"),
        [
            (Running(), [("user", {"user_id": 5}), ("inbox", {})]),
            (
                Returned(Shipment(customer_id=3)),
                [("user", {"user_id": 5}), ("orders", {"customer_id": 3, "day": "mon"}), ("tags", {}), ("inbox", {})],
            ),
            (Refused(), []),
            (Unknown(), [("user", {"user_id": 5}), ("orders", {}), ("tags", {}), ("inbox", {})]),
        ],
    )
    def test_declared_scopes_count_as_far_as_the_outcome_is_known(self, outcome: Outcome, expected: Any) -> None:
        everything = mutation("m", EVERYTHING, Shipment, user_id=int, day=str)
        assert stale(everything, {"user_id": 5, "day": "mon"}, outcome=outcome) == expected

    @pytest.mark.parametrize(
        ("outcome", "expected"), [(Returned(None), SCOPED), (Refused(), SCOPED), (Unknown(), [("orders", {})])]
    )
    def test_scopes_named_by_the_body_are_stale_after_a_refusal(self, outcome: Outcome, expected: Any) -> None:
        assert stale(mutation("m", ORDERS.by_body()), outcome=outcome, body=BODY) == expected

    def test_a_refusal_lists_a_scope_named_twice_once(self) -> None:
        assert stale(mutation("m", USER), outcome=Refused(), body=[*BODY, *BODY]) == SCOPED


WHOLE, FIVE, SIX = Invalidation("user"), Invalidation("user", {"user_id": 5}), Invalidation("user", {"user_id": 6})
READER, READER_FIVE = Invalidation("user", {}, "profile"), Invalidation("user", {"user_id": 5}, "profile")
OTHER, OTHER_READER = Invalidation("orders"), Invalidation("user", {"user_id": 5}, "badges")


class TestMerging:
    @pytest.mark.parametrize(
        ("given", "merged"),
        [
            ([], []),
            ([FIVE, OTHER, SIX, FIVE, OTHER], [FIVE, OTHER, SIX]),
            ([FIVE, WHOLE, SIX, OTHER], [WHOLE, OTHER]),
            ([READER, READER_FIVE, WHOLE], [WHOLE]),
            ([READER_FIVE, FIVE, READER], [FIVE, READER]),
            ([READER, READER_FIVE, OTHER_READER], [READER, OTHER_READER]),
            ([FIVE, Invalidation("user", {"user_id": "5"}), READER_FIVE], [FIVE, READER_FIVE]),
        ],
    )
    def test_whole_entries_swallow_scoped_ones(self, given: Any, merged: Any) -> None:
        assert merge(iter(given)) == tuple(merged)


@pytest.fixture
def graph() -> Graph:
    return build([*READERS, reader("user", "people", person=int)])


class Listening:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.heard: list[Invalidation] = []

    def on_named(self, mutating: CurrentCall, invalidation: Invalidation) -> None:
        assert mutating is current.get()
        self.heard.append(invalidation)


@pytest.fixture
def mutating(graph: Graph) -> Iterator[CurrentCall]:
    """The test runs as the body of a mutation does: there is a current call."""
    listener = Listening(graph)
    loop = asyncio.new_event_loop()
    running = CurrentCall(listener, loop)
    token = current.set(running)
    yield running
    current.reset(token)
    loop.close()
    assert listener.heard == running.named


class TestNaming:
    def test_a_body_names_scopes_and_each_is_heard_of_at_once(self, mutating: CurrentCall) -> None:
        invalidate(ORDERS, customer_id=7)
        assert mutating.named == [Invalidation("orders", {"customer_id": 7})]
        invalidate("user", user_id=["5", 6])
        invalidate(PROFILE)
        assert mutating.named[1:] == [FIVE, SIX, READER]

    def test_parameters_are_taken_in_name_order(self, graph: Graph) -> None:
        several = named(graph, "user", {"user_id": [5, 6], "page": [1, 2]})
        assert [dict(one.params) for one in several] == [
            {"page": page, "user_id": user_id} for page in (1, 2) for user_id in (5, 6)
        ]

    def test_a_null_or_invalid_value_does_not_narrow(self, mutating: CurrentCall) -> None:
        invalidate(USER)
        for value in (None, "x", [], object()):
            invalidate(USER, user_id=value)
        assert merge(mutating.named) == (WHOLE,)

    def test_a_text_names_a_context_before_a_reader(self, graph: Graph) -> None:
        assert named(graph, "user", {"user_id": 5}) == [FIVE]
        assert named(graph, reader("user", "people"), {"person": 5}) == [Invalidation("people", {"person": 5}, "user")]
        assert named(graph, "profile", {}) == [READER]

    @pytest.mark.parametrize(
        ("affected", "params", "words"),
        [
            ("usr", {}, "There is no context or reader 'usr' to invalidate"),
            (Context("usr"), {}, "There is no context or reader 'usr' to invalidate"),
            (reader("unknown", "user"), {}, "There is no context or reader 'unknown' to invalidate"),
            ("user", {"id": 5}, "Context 'user' has no parameter 'id' to narrow by; it has page, user_id."),
            (PROFILE, {"id": None}, "Context 'user' has no parameter 'id' to narrow by; it has page, user_id."),
            ("inbox", {"id": 5}, "Context 'inbox' has no parameter 'id' to narrow by; it has none at all."),
            ("m", {}, "There is no context or reader 'm' to invalidate"),
            ("no name", {}, "'no name' cannot name a context"),
            (5, {}, "5 is neither a Context, a context's name nor a reader"),
        ],
    )
    def test_an_unknown_name_raises_declaration_error(self, affected: Any, params: dict[str, Any], words: str) -> None:
        known = build([*READERS, mutation("m", "user")])
        with pytest.raises(DeclarationError) as refused:
            named(known, affected, params)
        assert words in str(refused.value)

    def test_outside_of_a_mutation_there_is_nothing_to_add_to(self) -> None:
        with pytest.raises(DeclarationError, match=r"outside of a mutation.*await engine\.invalidate"):
            invalidate("user")
