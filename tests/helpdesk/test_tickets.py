"""What members see and may do, and what each change names as stale."""

import datetime
import hashlib
from pathlib import Path

import pytest

from .world import ADA, BO, CY, Helpdesk, named

LATER = datetime.datetime(2100, 1, 1)


@pytest.mark.asyncio
async def test_members_see_the_tickets_of_their_organisation(helpdesk: Helpdesk) -> None:
    async with helpdesk.member(ADA) as ada, helpdesk.member(BO) as bo, helpdesk.member(CY) as cy:
        opened = await ada.call("open_ticket", title="Printer", text="It prints noughts.")
        assert named(opened) == {"tickets;org_id=1"}
        first = opened.json()["result"]["id"]
        assert [one["title"] for one in await bo.tickets()] == ["Printer"]
        assert await cy.tickets() == []
        assert (await bo.ticket(first))["messages"] == [{"author": "Ada", "text": "It prints noughts."}]


@pytest.mark.asyncio
async def test_a_ticket_of_another_organisation_is_not_found(helpdesk: Helpdesk) -> None:
    async with helpdesk.member(ADA) as ada, helpdesk.member(CY) as cy:
        first = await ada.open("Printer")
        await ada.ticket(first)
        attached = (await ada.attach(first, "a.txt", b"a")).json()["result"]["id"]
        calls = [
            await cy.fetch("ticket", ticket_id=first),
            await cy.call("set_status", ticket_id=first, status="closed"),
            await cy.call("reply", ticket_id=first, text="Hello"),
            await cy.attach(first, "b.txt", b"b"),
            await cy.web.get(f"/attachments/{attached}/"),
        ]
        assert [one.status_code for one in calls] == [404] * 5
        assert [named(one) for one in calls] == [set()] * 5
        assert (await ada.ticket(first))["ticket"]["status"] == "open"


@pytest.mark.asyncio
async def test_a_visitor_is_asked_to_sign_in(helpdesk: Helpdesk) -> None:
    async with helpdesk.member(None) as visitor:
        assert (await visitor.fetch("tickets")).status_code == 401
        assert (await visitor.call("open_ticket", title="a", text="b")).status_code == 401
        assert (await visitor.attach(1, "a", b"")).status_code == 401
        assert (await visitor.web.get("/attachments/1/")).status_code == 404


@pytest.mark.asyncio
async def test_a_change_of_status_is_seen_by_every_filter(helpdesk: Helpdesk) -> None:
    async with helpdesk.member(ADA) as ada, helpdesk.member(BO) as bo:
        first, second = await ada.open("Printer"), await ada.open("Mouse")

        async def shown(status: str | None = None) -> list[int]:
            params = {} if status is None else {"status": status}
            return [one["id"] for one in await bo.tickets(**params)]

        assert (await shown(), await shown("open"), await shown("closed")) == ([first, second], [first, second], [])
        answer = await ada.call("set_status", ticket_id=first, status="closed")
        assert named(answer) == {"tickets;org_id=1", f"ticket;org_id=1;ticket_id={first}"}
        assert (await shown(), await shown("open"), await shown("closed")) == ([first, second], [second], [first])


@pytest.mark.asyncio
async def test_an_attachment_is_kept_under_a_name_of_ours(helpdesk: Helpdesk, tmp_path: Path) -> None:
    async with helpdesk.member(ADA) as ada:
        first = await ada.open("Printer")
        answer = await ada.attach(first, "../../noughts.txt", b"00000")
        assert named(answer) == {f"ticket;org_id=1;ticket_id={first}"}
        shown = (await ada.ticket(first))["attachments"]
        assert shown == [{"id": 1, "name": "noughts.txt", "size": 5, "sha256": None}]
        (kept,) = (tmp_path / "files").iterdir()
        assert kept.read_bytes() == b"00000"
        saved = await ada.web.get("/attachments/1/")
        assert (saved.content, saved.headers["content-type"]) == (b"00000", "application/octet-stream")
        assert saved.headers["content-disposition"].startswith("attachment")
        large = await ada.attach(first, "large", b"0" * 5_000_001)
        assert (large.status_code, large.json()["code"]) == (413, "payload_too_large")
        digest = await helpdesk.mizan.engine.run("digest", {"org_id": 1, "ticket_id": first, "attachment_id": 1})
        assert digest.result == hashlib.sha256(b"00000").hexdigest()
        assert (await ada.ticket(first))["attachments"][0]["sha256"] == digest.result


@pytest.mark.asyncio
async def test_a_mail_is_a_reply_if_its_signature_is_right(helpdesk: Helpdesk) -> None:
    async with helpdesk.member(ADA) as ada, helpdesk.member(None) as service:
        first = await ada.open("Printer")
        await ada.call("set_status", ticket_id=first, status="waiting")
        assert (await service.mail("another secret", ticket_id=first, sender="eve@x", text="Hi")).status_code == 403
        assert (await service.mail(ticket_id=first, sender="al@x")).status_code == 400
        assert (await service.mail(ticket_id=99, sender="al@x", text="Hi")).status_code == 404
        assert (await ada.ticket(first))["ticket"]["status"] == "waiting"
        answer = await service.mail(ticket_id=first, sender="al@x", text="It works.")
        assert (answer.status_code, named(answer)) == (
            204,
            {"tickets;org_id=1", f"ticket;org_id=1;ticket_id={first}"},
        )
        shown = await ada.ticket(first)
        assert (shown["ticket"]["status"], shown["messages"][-1]["text"]) == ("open", "It works.")
        by_name = await service.call("mail_arrived")
        assert by_name.status_code == 404


@pytest.mark.asyncio
async def test_what_waits_is_closed_and_nothing_else_is_purged(helpdesk: Helpdesk) -> None:
    async with helpdesk.member(ADA) as ada, helpdesk.member(CY) as cy:
        first, other = await ada.open("Printer"), await cy.open("Mouse")
        await ada.call("set_status", ticket_id=first, status="waiting")
        engine = helpdesk.mizan.engine
        assert (await engine.run("close_waiting", {"before": datetime.datetime(2000, 1, 1)})).invalidations == ()
        closed = await engine.run("close_waiting", {"before": LATER})
        assert closed.result == [first]
        assert [(one.context, one.params) for one in closed.invalidations] == [
            ("tickets", {"org_id": 1}),
            ("ticket", {"org_id": 1, "ticket_id": first}),
        ]
        assert (await cy.ticket(other))["ticket"]["status"] == "open"
        assert (await ada.tickets(status="closed"))[0]["id"] == first
