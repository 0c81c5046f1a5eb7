"""Models whose names `awkward` has as well."""

from pydantic import BaseModel


class Item(BaseModel):
    """An item of the stock."""

    shelf: str
