"""`python -m examples.tracker` serves the tracker on http://127.0.0.1:8000."""

import uvicorn

from .app import app

uvicorn.run(app, host="127.0.0.1", port=8000)
