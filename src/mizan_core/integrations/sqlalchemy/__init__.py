"""SQLAlchemy: purges after the commits of sessions, and dependencies that functions have and do not declare.

Needs the extra: `pip install 'mizan-asgi[sqlalchemy]'`.
"""

from .columns import TableColumn
from .suspicions import Opaque, Report, Suspect, Suspicions
from .writes import Writes

__all__ = ["Opaque", "Report", "Suspect", "Suspicions", "TableColumn", "Writes"]
