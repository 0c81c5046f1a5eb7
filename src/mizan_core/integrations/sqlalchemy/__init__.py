"""SQLAlchemy: undeclared dependencies between functions, found by the columns that they read and write.

Needs the extra: `pip install 'mizan-asgi[sqlalchemy]'`.
"""

from .columns import TableColumn
from .suspicions import Opaque, Report, Suspect, Suspicions

__all__ = ["Opaque", "Report", "Suspect", "Suspicions", "TableColumn"]
