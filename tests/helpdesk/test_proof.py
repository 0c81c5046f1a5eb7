"""Every write of the helpdesk, under proof: no bundle is stale that a write did not invalidate."""

import datetime

import pytest

from examples.helpdesk.database import writing
from examples.helpdesk.models import Ticket
from mizan_core.proof import Verify

from .world import ADA, CY, Helpdesk, Member


async def keep(*members: Member) -> None:
    """Fetch everything that members may see, so that it is kept and checked after each write."""
    for member in members:
        for params in ({}, {"status": "open"}, {"status": "waiting"}, {"status": "closed"}):
            for one in await member.tickets(**params):
                await member.ticket(one["id"])


@pytest.mark.asyncio
async def test_nothing_of_the_helpdesk_is_proved_stale(helpdesk: Helpdesk) -> None:
    verify = Verify(sample=1.0)
    verify.attach(helpdesk.mizan.engine)
    async with helpdesk.member(ADA) as ada, helpdesk.member(CY) as cy, helpdesk.member(None) as service:
        first, other = await ada.open("Printer"), await cy.open("Mouse")
        await keep(ada, cy)
        later = datetime.datetime(2100, 1, 1)
        writes = [
            lambda: ada.open("Screen"),
            lambda: cy.call("set_status", ticket_id=other, status="closed"),
            lambda: ada.call("set_status", ticket_id=first, status="waiting"),
            lambda: ada.attach(first, "a.txt", b"a"),
            lambda: helpdesk.mizan.engine.run("digest", {"org_id": 1, "ticket_id": first, "attachment_id": 1}),
            lambda: helpdesk.mizan.engine.run("close_waiting", {"before": later}),
            lambda: ada.call("reply", ticket_id=first, text="Hello?"),
            lambda: service.mail(ticket_id=other, sender="al@x", text="It works."),
        ]
        for write in writes:
            await write()
            await keep(ada, cy)
    assert verify.proved == []
    assert verify.unstable == {}
    assert verify.checked > 50


@pytest.mark.asyncio
async def test_a_write_past_the_helpdesk_is_proved(helpdesk: Helpdesk) -> None:
    verify = Verify(sample=1.0)
    verify.attach(helpdesk.mizan.engine)
    async with helpdesk.member(ADA) as ada, helpdesk.member(CY) as cy:
        first = await ada.open("Printer")
        await keep(ada)
        async with writing.begin() as session:
            (await session.get_one(Ticket, first)).title = "By hand"
        await cy.open("Mouse")
    assert {(one.mutation, one.context) for one in verify.proved} == {(None, "ticket"), (None, "tickets")}
