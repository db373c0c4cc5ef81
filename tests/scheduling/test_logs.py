"""What a whole journey leaves in the log: what it was about, and nothing of the households."""

import io
import json
import smtplib
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.test import Client
from pytest_django import Settings

from hubs.gateway import Command, Receipt, Report
from hubs.models import CommunicationsHub
from portal.models import User
from scheduling.models import Deployment, Lot, Notice
from scheduling.operations import deployments, notices
from tests.scheduling.world import World

MPANS = (1234567890126, 1400000000106, 2000051234560)
MPRNS = (3938424403, 7654321054, 4312345608)
POSTCODES = ("SW1A 1AA", "EH1 1YZ", "M1 1AE")
OTHERS_MPAN = 1900001234564


class Refusing(BaseEmailBackend):
    """A mail server that takes nobody's e-mail, and says whose."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Refuse every recipient."""
        refused = {address: (450, b"later") for message in email_messages for address in message.to}
        raise smtplib.SMTPRecipientsRefused(refused)


def journey(world: World, client: Client, settings: Settings) -> None:
    """Upload, book, look, ask for what is not there, write e-mails that are refused, and carry it all out."""
    world.slot(start=timedelta(hours=5), room=10)
    world.hubs(1, supplier=world.southern, mpan=OTHERS_MPAN, postcode="LS1 4DY")
    selection = world.choose_ids("MPAN\n" + "\n".join(map(str, (*MPANS, OTHERS_MPAN, 123))))
    client.force_login(world.person)
    for mpan in (*MPANS, OTHERS_MPAN):
        client.get("/hubs/", {"search": mpan})
        client.get(f"/hubs/{mpan}/")
    client.get(f"/selections/{selection.pk}/refused/")
    client.get(f"/{POSTCODES[0]}/{world.person.email}")
    client.post("/accounts/password/reset/", {"email": world.person.email})
    booking = world.book(selection)
    client.get(f"/bookings/{booking.reference}.csv")
    settings.EMAIL_BACKEND = f"{__name__}.Refusing"
    notices.owe_published(now=world.clock.move(minutes=5))
    notices.send(clock=world.clock, limit=100)
    for _ in range(4):
        world.clock.move(hours=2)
        world.work()


class TestJourney:
    @pytest.fixture(autouse=True)
    def households(self, todays_world: World) -> None:
        """Put electricity, gas and an address to each hub."""
        for mpan, mprn, postcode in zip(MPANS, MPRNS, POSTCODES, strict=True):
            todays_world.hubs(1, mpan=mpan, mprn=mprn, postcode=postcode)

    def test_says_nothing_of_any_household_or_person(
        self, todays_world: World, client: Client, settings: Settings, written: io.StringIO
    ) -> None:
        journey(todays_world, client, settings)

        said = written.getvalue()
        assert "[e-mail address]" in said  # so there was something to hide
        assert "[meter point]" in said
        assert "[postcode]" in said
        known = [str(number) for number in (*MPANS, *MPRNS, OTHERS_MPAN)]
        known += [*POSTCODES, *(postcode.replace(" ", "%20") for postcode in POSTCODES)]
        known += User.objects.values_list("email", flat=True)
        known += Notice.objects.values_list("address", flat=True)
        assert [secret for secret in known if secret in said] == []

    def test_says_which_request_and_which_e_mail_each_line_is_about(
        self, todays_world: World, client: Client, settings: Settings, written: io.StringIO
    ) -> None:
        journey(todays_world, client, settings)

        lines = [json.loads(line) for line in written.getvalue().splitlines()]
        asked = [line for line in lines if line["logger"] == "django.request"]
        assert asked
        assert {line.get("supplier") for line in asked if "user" in line} == {todays_world.northern.pk}
        assert all(line["request"] for line in asked)
        unsent = {line["notice"] for line in lines if "notice" in line}
        assert unsent == set(Notice.objects.filter(sent_at=None).values_list("pk", flat=True))
        assert CommunicationsHub.objects.count() == len(MPANS) + 1


class Broken:
    """A gateway of whom every command brings out the same mistake."""

    def send(self, *, commands: Sequence[Command], now: datetime) -> Sequence[Receipt]:
        """Fail, as a mistake in the code would."""
        raise ValueError(f"no hub at {POSTCODES[0]}")

    def collect(self, *, limit: int, now: datetime) -> Sequence[Report]:
        """Bring nothing."""
        return []

    def acknowledge(self, *, reports: Sequence[int]) -> None:
        """Take nothing."""


class TestCarryingOut:
    def test_says_which_release_booking_lot_and_command_failed(
        self, world: World, written: io.StringIO
    ) -> None:
        world.hubs(1)
        world.slot(start=timedelta(hours=3), room=10)
        booking = world.book()
        world.clock.move(minutes=10)

        deployments.carry_out(gateway=Broken(), clock=world.clock, lots=1)

        [line] = [
            line for line in map(json.loads, written.getvalue().splitlines()) if line["level"] == "ERROR"
        ]
        lot = Lot.objects.get()
        assert line["release"] == world.release.cpl_entry_id
        assert line["booking"] == booking.reference
        assert line["lot"] == lot.pk
        assert line["command"] == f"{Deployment.objects.get().pk}/READ/1"
        assert "ValueError: no hub at [postcode]" in line["exception"]
