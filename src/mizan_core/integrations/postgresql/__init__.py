"""PostgreSQL: triggers and an outbox, so that a write purges whichever program makes it.

Needs the extra: `pip install 'mizan-asgi[postgresql]'`.
"""

from .listener import Listener
from .outbox import Delivery, Outbox
from .tables import Purge, Table
from .triggers import Triggers

__all__ = ["Delivery", "Listener", "Outbox", "Purge", "Table", "Triggers"]
