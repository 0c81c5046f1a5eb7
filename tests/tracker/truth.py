"""The expected content of the tracker's bundles, worked out from the tables' rows without the tracker's queries."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from examples.tracker.roles import PERMISSIONS, Role
from examples.tracker.seed import FIRST

Row = dict[str, Any]

ORDER = {"active": 0, "open": 1, "closed": 2}


class Truth:
    """An organisation's rows at one moment."""

    def __init__(self, path: Path, org_id: int = FIRST) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.row_factory = sqlite3.Row
            organisations, people, projects, issues, comments = (
                [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
                for table in ("organisations", "people", "projects", "issues", "comments")
            )
        (self.organisation,) = [row for row in organisations if row["id"] == org_id]
        people = [row for row in people if row["org_id"] == org_id]
        projects = [row for row in projects if row["org_id"] == org_id]
        issues = [row for row in issues if row["project_id"] in {project["id"] for project in projects}]
        comments = [row for row in comments if row["issue_id"] in {issue["id"] for issue in issues}]
        self.people: dict[int, Row] = {row["id"]: row for row in people}
        self.projects: dict[int, Row] = {row["id"]: row for row in projects}
        self.issues: dict[int, Row] = {row["id"]: row for row in issues}
        self.comments: list[Row] = comments

    def bundle(self, context: str, params: dict[str, int], role: Role | None, person_id: int | None) -> Row | None:
        """The bundle as this person gets it; None for a page that does not exist."""
        match context:
            case "organisation":
                return {"organisation": {"org_id": self.organisation["id"], "name": self.organisation["name"]}}
            case "people":
                return {"people_list": sorted(map(self._card, self.people), key=lambda card: card["name"])}
            case "projects":
                return {"project_list": sorted(map(self._summary, self.projects), key=lambda one: one["name"])}
            case "board" if params["page"] > self.pages(params["project_id"]):
                return None
            case "board":
                return {"board_page": self._board(params["project_id"], params["page"])}
            case "issue":
                return {
                    "issue_detail": self._issue(params["issue_id"]),
                    "issue_comments": self._comments(params["issue_id"]),
                }
            case "work":
                return {"my_issues": self._work(person_id or 0)}
            case "workload":
                return {"workload": self._workload(by_person=role in (Role.LEAD, Role.ADMIN))}
            case "abilities":
                return {"abilities": {"permissions": sorted(PERMISSIONS[role] if role else ())}}
            case "me":
                return {"whoami": person_id and self._card(person_id)}
        raise AssertionError(context)

    def pages(self, project_id: int) -> int:
        return max(1, -(-len(self._of_project(project_id)) // 25))

    def _card(self, person_id: int) -> Row:
        row = self.people[person_id]
        return {"person_id": row["id"], "name": row["name"], "role": row["role"]}

    def _summary(self, project_id: int) -> Row:
        row = self.projects[project_id]
        counts = Counter(issue["status"] for issue in self._of_project(project_id))
        return {
            "project_id": row["id"],
            "key": row["key"],
            "name": row["name"],
            "lead": self.people[row["lead_id"]]["name"],
            "archived": bool(row["archived"]),
            **{status: counts[status] for status in ORDER},
        }

    def _of_project(self, project_id: int) -> list[Row]:
        return sorted((row for row in self.issues.values() if row["project_id"] == project_id), key=urgency)

    def _board(self, project_id: int, page: int) -> Row:
        project = self.projects[project_id]
        rows = self._of_project(project_id)[(page - 1) * 25 : page * 25]
        return {
            "project_id": project_id,
            "key": project["key"],
            "name": project["name"],
            "public": bool(project["open"]),
            "page": page,
            "pages": self.pages(project_id),
            "issues": [
                {
                    "issue_id": row["id"],
                    "title": row["title"],
                    "status": row["status"],
                    "priority": row["priority"],
                    "assignee": self._name(row["assignee_id"]),
                    "comments": sum(comment["issue_id"] == row["id"] for comment in self.comments),
                }
                for row in rows
            ],
        }

    def _issue(self, issue_id: int) -> Row:
        row = self.issues[issue_id]
        plain = ("project_id", "title", "text", "status", "priority", "assignee_id")
        return {
            "issue_id": issue_id,
            "key": self._key(row),
            **{name: row[name] for name in plain},
            "assignee": self._name(row["assignee_id"]),
            "reporter": self._name(row["reporter_id"]),
            "created_at": moment(row["created_at"]),
            "updated_at": moment(row["updated_at"]),
        }

    def _comments(self, issue_id: int) -> list[Row]:
        found = [row for row in self.comments if row["issue_id"] == issue_id]
        return [
            {
                "comment_id": row["id"],
                "author_id": row["author_id"],
                "author": self._name(row["author_id"]),
                "text": row["text"],
                "created_at": moment(row["created_at"]),
                "edited_at": moment(row["edited_at"]),
            }
            for row in sorted(found, key=lambda row: (row["created_at"], row["id"]))
        ]

    def _to_do(self) -> list[Row]:
        return [
            row
            for row in self.issues.values()
            if row["status"] != "closed" and not self.projects[row["project_id"]]["archived"]
        ]

    def _work(self, person_id: int) -> Row:
        mine = sorted((row for row in self._to_do() if row["assignee_id"] == person_id), key=urgency)
        shown = [
            {"issue_id": row["id"], "key": self._key(row)}
            | {name: row[name] for name in ("title", "status", "priority")}
            for row in mine[:25]
        ]
        return {"person_id": person_id, "total": len(mine), "issues": shown}

    def _workload(self, *, by_person: bool) -> list[Row]:
        counts: dict[Any, Counter[str]] = {}
        for row in self._to_do():
            person = self.people.get(row["assignee_id"])
            who = None if person is None else person["name"] if by_person else person["role"]
            counts.setdefault(who, Counter())[row["status"]] += 1
        rows = [{"who": who, "open": count["open"], "active": count["active"]} for who, count in counts.items()]
        if by_person:
            return sorted(rows, key=lambda row: (-row["open"] - row["active"], row["who"] or ""))
        return sorted(rows, key=lambda row: row["who"] or "")

    def _name(self, person_id: int | None) -> str | None:
        return None if person_id is None else str(self.people[person_id]["name"])

    def _key(self, row: Row) -> str:
        return f"{self.projects[row['project_id']]['key']}-{row['id']}"


def urgency(row: Row) -> tuple[int, int, int]:
    return ORDER[row["status"]], row["priority"], -row["id"]


def moment(text: str | None) -> str | None:
    return None if text is None else text.removesuffix(".000000").replace(" ", "T") + "Z"
