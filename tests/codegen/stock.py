"""Models with the same names as those of `awkward`, so that generated names collide."""

from pydantic import BaseModel


class Item(BaseModel):
    """An item of the stock."""

    shelf: str
