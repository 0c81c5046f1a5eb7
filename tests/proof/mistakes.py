"""A small shop with twelve mistakes, planted in declarations that read well. test_mistakes says what finds each."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine as Database
from sqlalchemy import ForeignKey, create_engine, delete, event, func, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

from mizan_core import Arg, Context, Engine, Identity, MemoryCache, Result, build, client
from mizan_core.errors import Forbidden, NotFound


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Order(Base):
    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(default="new")
    assignee: Mapped[int | None] = mapped_column(default=None)


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[int] = mapped_column(default=10)


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("order.id", ondelete="CASCADE"))
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id"))


class Article(Base):
    __tablename__ = "article"
    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str]


class Comment(Base):
    __tablename__ = "comment"
    id: Mapped[int] = mapped_column(primary_key=True)
    article: Mapped[str]
    text: Mapped[str]


class Member(Base):
    __tablename__ = "member"
    user_id: Mapped[int] = mapped_column(primary_key=True)


def database() -> Database:
    """Two customers with an order each, two products, two articles with a comment each, and one member."""
    found = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    event.listen(found, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=ON"))
    Base.metadata.create_all(found)
    with Session(found) as session, session.begin():
        session.add_all([Customer(id=1, name="Ada"), Customer(id=2, name="Grace")])
        session.add_all([Product(id=1, name="tea"), Product(id=2, name="cup", price=20)])
        session.add_all([Article(id=1, slug="first"), Article(id=2, slug="second"), Member(user_id=5)])
        session.add_all([Comment(id=1, article="first", text="yes"), Comment(id=2, article="second", text="no")])
        session.flush()
        session.add_all([Order(id=1, customer_id=1), Order(id=2, customer_id=2)])
        session.flush()
        session.add_all([Item(id=1, order_id=1, product_id=1), Item(id=2, order_id=2, product_id=2)])
    return found


Customers, Orders, Items, Products, Report = (
    Context(name) for name in ("customers", "orders", "items", "products", "report")
)
Comments, Articles, Secrets, Inbox, Cheap = (
    Context(name) for name in ("comments", "articles", "secrets", "inbox", "cheap")
)


@dataclass
class Mistake:
    """One mistake: the function that makes it, how it is called, and which context is stale after it."""

    name: str
    mutation: Callable[..., Any] | None
    arguments: dict[str, object]
    stale: str
    fetched: list[tuple[str, dict[str, object]]]
    identity: Identity = field(default_factory=lambda: Identity(5))
    outside: Callable[["Shop"], Awaitable[None]] | None = None


class Shop:
    """The functions of the shop over a database of its own."""

    def __init__(self) -> None:
        self.database = database()
        self.session = lambda: Session(self.database)
        self.mistakes = {one.name: one for one in self._mistakes()}
        mutations = [one.mutation for one in self.mistakes.values() if one.mutation is not None]
        self.graph = build([*self._readers(), *mutations])

    def engine(self, **options: Any) -> Engine:
        return Engine(self.graph, cache=MemoryCache(), **options)

    def _all(self, statement: Any) -> list[Any]:
        with self.session() as session:
            return [tuple(row) for row in session.execute(statement)]

    def _write(self, *statements: Any) -> None:
        with self.session() as session, session.begin():
            for statement in statements:
                session.execute(statement)

    def _readers(self) -> list[Any]:
        @client(context=Customers)
        async def customer(customer_id: int) -> list[tuple[str]]:
            return self._all(select(Customer.name).where(Customer.id == customer_id))

        @client(context=Orders)
        async def order_list(status: str | None = None) -> list[tuple[int, str]]:
            wanted = select(Order.id, Order.status).order_by(Order.id)
            return self._all(wanted if status is None else wanted.where(Order.status == status))

        @client(context=Items)
        async def item_list(order_id: int) -> list[tuple[int, str, str]]:
            wanted = select(Item.id, Product.name, Customer.name).join(Product, Product.id == Item.product_id)
            wanted = wanted.join(Order, Order.id == Item.order_id).join(Customer, Customer.id == Order.customer_id)
            return self._all(wanted.where(Item.order_id == order_id).order_by(Item.id))

        @client(context=Products)
        async def product(product_id: int) -> list[tuple[str, int]]:
            return self._all(select(Product.name, Product.price).where(Product.id == product_id))

        @client(context=Report)
        async def paid() -> list[tuple[int]]:
            return self._all(select(func.count()).select_from(Order).where(Order.status == "paid"))

        @client(context=Comments)
        async def comment_list(article: str) -> list[tuple[int, str]]:
            return self._all(select(Comment.id, Comment.text).where(Comment.article == article).order_by(Comment.id))

        @client(context=Articles)
        async def article(slug: str) -> int:
            found = self._all(select(Article.id).where(Article.slug == slug))
            if not found:
                raise NotFound
            return int(found[0][0])

        @client(context=Secrets)
        async def secret(me: Identity) -> str:
            if not self._all(select(Member.user_id).where(Member.user_id == int(me.user_id or 0))):
                raise Forbidden
            return "the recipe"

        @client(context=Inbox)
        async def inbox(assignee: int | None) -> list[tuple[int]]:
            return self._all(select(Order.id).where(Order.assignee.is_not_distinct_from(assignee)).order_by(Order.id))

        @client(context=Cheap)
        async def cheap(most: int) -> list[tuple[int]]:
            return self._all(select(Product.id).where(Product.price <= most).order_by(Product.id))

        return [customer, order_list, item_list, product, paid, comment_list, article, secret, inbox, cheap]

    def _mistakes(self) -> list[Mistake]:
        @client(affects=Orders)
        async def pay(order_id: int) -> None:
            self._write(update(Order).where(Order.id == order_id).values(status="paid"))

        @client(affects=[Orders.where(status=Arg("status")), Report])
        async def set_status(order_id: int, status: str) -> None:
            self._write(update(Order).where(Order.id == order_id).values(status=status))

        @client(affects=Items)
        async def move_item(item_id: int, order_id: int) -> None:
            self._write(update(Item).where(Item.id == item_id).values(order_id=order_id))

        @client(affects=Products)
        async def rename_product(product_id: int, name: str) -> None:
            self._write(update(Product).where(Product.id == product_id).values(name=name))

        @client(affects=Customers)
        async def rename_customer(customer_id: int, name: str) -> None:
            self._write(update(Customer).where(Customer.id == customer_id).values(name=name))

        @client(affects=Comments)
        async def delete_comment(article: str, comment_id: int) -> None:
            self._write(delete(Comment).where(Comment.id == comment_id))

        @client(affects=Customers.whole())
        async def remove_member(user_id: int) -> None:
            self._write(delete(Member).where(Member.user_id == user_id))

        async def by_hand(shop: "Shop") -> None:
            shop._write(update(Product).where(Product.id == 1).values(price=1))

        @client(affects=Articles.where(slug=Result("slug")))
        async def rename_article(article_id: int, slug: str) -> dict[str, str]:
            self._write(update(Article).where(Article.id == article_id).values(slug=slug))
            return {"slug": slug}

        @client(affects=[Customers, Orders.whole(), Report, Inbox.whole()])
        async def delete_customer(customer_id: int) -> None:
            self._write(delete(Customer).where(Customer.id == customer_id))

        @client(affects=Inbox.where(assignee=Arg("to")))
        async def assign(order_id: int, to: int) -> None:
            self._write(update(Order).where(Order.id == order_id).values(assignee=to))

        @client(affects=[Products, Cheap.where(most=Arg("price"))])
        async def set_price(product_id: int, price: int) -> None:
            self._write(update(Product).where(Product.id == product_id).values(price=price))

        item_lists: list[tuple[str, dict[str, object]]] = [("items", {"order_id": 1}), ("items", {"order_id": 2})]
        every_order: list[tuple[str, dict[str, object]]] = [("orders", {}), ("orders", {"status": "paid"})]
        return [
            Mistake("forgotten context", pay, {"order_id": 1}, "report", [*every_order, ("report", {})]),
            Mistake("optional filter", set_status, {"order_id": 1, "status": "paid"}, "orders", every_order),
            Mistake("move between parents", move_item, {"item_id": 1, "order_id": 2}, "items", item_lists),
            Mistake("joined table", rename_product, {"product_id": 1, "name": "mug"}, "items", item_lists),
            Mistake("embedded name", rename_customer, {"customer_id": 1, "name": "Eva"}, "items", item_lists),
            Mistake(
                "argument disagrees with its row",
                delete_comment,
                {"article": "second", "comment_id": 1},
                "comments",
                [("comments", {"article": "first"}), ("comments", {"article": "second"})],
            ),
            Mistake("check in a body", remove_member, {"user_id": 5}, "secrets", [("secrets", {})]),
            Mistake("write outside", None, {}, "products", [("products", {"product_id": 1})], outside=by_hand),
            Mistake(
                "alias key",
                rename_article,
                {"article_id": 1, "slug": "third"},
                "articles",
                [("articles", {"slug": "first"}), ("articles", {"slug": "second"})],
            ),
            Mistake("cascade", delete_customer, {"customer_id": 1}, "items", [*item_lists, ("orders", {})]),
            Mistake(
                "null filter",
                assign,
                {"order_id": 1, "to": 7},
                "inbox",
                [("inbox", {"assignee": None}), ("inbox", {"assignee": 7})],
            ),
            Mistake(
                "list that an entry enters",
                set_price,
                {"product_id": 2, "price": 5},
                "cheap",
                [("cheap", {"most": 5}), ("cheap", {"most": 15})],
            ),
        ]
