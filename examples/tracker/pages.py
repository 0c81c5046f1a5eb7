"""Plain HTML pages, for browsers without script. All texts from the database are escaped."""

from collections.abc import Sequence
from html import escape

from .schemas import BoardPage, BoardRow, PersonCard

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/tracker.css">
</head>
<body class="plain">
<header class="top"><a class="name" href="/">Tracker</a></header>
<main>
{body}
</main>
</body>
</html>
"""


def project(board: BoardPage) -> str:
    """The first page of a project's board, with a form to report an issue."""
    rows = "\n".join(map(_row, board.issues))
    name = escape(board.name)
    return _page(
        board.name,
        f"""<h1>{name} <span class="quiet">{escape(board.key)}</span></h1>
<p class="quiet">Page 1 of {board.pages}. This page works without script, and an edge may keep it until the board goes
stale. <a href="/#/p/{board.project_id}">Open it in the tracker</a>.</p>
<form class="report" method="post" action="/p/{board.project_id}/report/">
<label>Report an issue <input name="title" required minlength="3" maxlength="160" autocomplete="off"></label>
<button>Report</button>
</form>
<ol class="issues">
{rows}
</ol>""",
    )


def sign_in(people: Sequence[PersonCard], project_id: int) -> str:
    """The refusal of a report, with a form to sign in."""
    options = "\n".join(
        f'<option value="{person.person_id}">{escape(person.name)}, {person.role}</option>' for person in people
    )
    return _page(
        "Sign in",
        f"""<h1>Sign in first</h1>
<p>Only developers, leads and admins report issues. Pick a person; this is a demonstration, so there is no password.</p>
<form class="report" method="post" action="/sign-in/">
<input type="hidden" name="project_id" value="{project_id}">
<label>Person <select name="person_id">
{options}
</select></label>
<button>Sign in</button>
</form>
<p><a href="/p/{project_id}/">Back to the project</a></p>""",
    )


def missing() -> str:
    return _page("Not found", '<h1>There is no such project</h1>\n<p><a href="/">To the tracker</a></p>')


def _row(issue: BoardRow) -> str:
    comments = "1 comment" if issue.comments == 1 else f"{issue.comments} comments"
    about = [issue.status, issue.assignee or "nobody", comments]
    return (
        f'<li><a href="/#/i/{issue.issue_id}">{escape(issue.title)}</a>'
        f' <span class="quiet">{escape(", ".join(about))}</span></li>'
    )


def _page(title: str, body: str) -> str:
    return _PAGE.format(title=escape(title), body=body)
