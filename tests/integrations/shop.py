"""Customers, their orders with lines, and a diary: tables with every kind of foreign key."""

from datetime import datetime

from sqlalchemy import Computed, DateTime, ForeignKey, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    note: Mapped[str] = mapped_column(default="", deferred=True)
    shout: Mapped[str] = mapped_column(Computed("upper(name)"), deferred=True)
    orders: Mapped[list["Order"]] = relationship(back_populates="customer", passive_deletes=True)


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id", ondelete="CASCADE", onupdate="CASCADE"))
    status: Mapped[str] = mapped_column(default="new")
    changed_at: Mapped[datetime | None] = mapped_column(DateTime, onupdate=func.now())
    customer: Mapped[Customer] = relationship(back_populates="orders")


class Line(Base):
    __tablename__ = "lines"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id", ondelete="cascade"))
    sku: Mapped[str]


class Diary(Base):
    __tablename__ = "diary"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("customers.id", ondelete="SET NULL"))
    line_id: Mapped[int | None] = mapped_column(ForeignKey("lines.id"))
    elsewhere_id: Mapped[int | None] = mapped_column(ForeignKey("elsewhere.id"))
