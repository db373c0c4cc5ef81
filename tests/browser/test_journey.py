"""What a Supplier does in the portal, from the release to the outcome, in a real browser."""

import csv
import re
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from firmware.models import RolloutPolicy
from hubs.identifiers import format_eui64
from portal.ground.uk_time import LONDON
from portal.models import User
from scheduling.models import Booking, Deployment, Slot
from scheduling.operations import bookings, notices
from tests.browser.conftest import Passes, SignIn
from tests.factories import PASSWORD
from tests.scheduling.world import World

BOOK = re.compile(r"^Book \d+ hubs?$")


def choose_all(page: Page) -> None:
    page.get_by_role("link", name=BOOK).click()
    page.get_by_label("All that are left").check()
    page.get_by_role("button", name="Go on: when").click()


def three_nights(world: World) -> list[datetime]:
    """
    Open a slot for four hubs at 02:00 UK time on three nights of next week; return their starts.

    No share binds: on a Monday, next week is further away than shares reach.
    """
    RolloutPolicy.objects.update(fair_share_until="90 days")
    today = world.clock().astimezone(LONDON).date()
    tuesday = today + timedelta(days=8 - today.weekday())
    starts = [
        datetime.combine(tuesday + timedelta(days=day), time(2), LONDON).astimezone(UTC) for day in range(3)
    ]
    for start in starts:
        world.slot(start=start - world.clock(), room=4)
    return starts


class TestASupplier:
    def test_books_as_early_as_possible_and_watches_every_hub_end(
        self, world: World, page: Page, live_server: LiveServer, sign_in: SignIn, passes: Passes
    ) -> None:
        world.slot(start=timedelta(hours=5), room=10)
        sign_in(world.person)
        expect(page.get_by_role("heading", name="Needs you")).to_be_visible()
        expect(page.get_by_text("3 hubs to book")).to_be_visible()
        passes()

        page.get_by_role("heading", name="Spring release").get_by_role("link").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Spring release")
        expect(page.get_by_text("Mends the clock.")).to_be_visible()
        passes()

        page.get_by_role("link", name="Book 3 hubs").click()
        passes()
        page.get_by_label("All that are left").check()
        page.get_by_role("button", name="Go on: when").click()
        expect(page.get_by_text("1 hub: Status does not allow it")).to_be_visible()
        passes()
        page.get_by_role("link", name="As early as possible").click()
        expect(page.get_by_text("3 hubs will get version")).to_be_visible()
        passes()
        page.get_by_role("button", name="Book 3 hubs").click()

        expect(page.get_by_role("heading", name="0 of 3 hubs have ended")).to_be_visible()
        passes()
        booking = Booking.objects.get()
        expect(page.get_by_role("heading", level=1)).to_have_text(booking.reference)

        # what Celery's timetable would wake, on a clock of our own; the page looks for itself
        world.clock.move(hours=2)
        world.work()
        expect(page.get_by_role("row", name="Staged 1")).to_be_visible()
        expect(page.get_by_role("row", name="Failed 1")).to_be_visible()
        world.clock.move(hours=3, minutes=1)
        world.work()
        expect(page.get_by_role("row", name="Succeeded 1")).to_be_visible()
        world.clock.move(hours=2)
        world.work()
        expect(page.get_by_role("heading", name="All 3 hubs have ended")).to_be_visible()
        expect(page.get_by_role("row", name="Missed 1")).to_be_visible()
        passes()

        page.get_by_role("link", name="Its hubs").click()
        page.get_by_role("link", name="Failed 1").click()
        expect(page.get_by_text("The hub's hardware does not take this image")).to_be_visible()
        passes()
        page.get_by_role("cell").get_by_role("link").first.click()
        expect(page.get_by_role("heading", name="Its story")).to_be_visible()
        expect(page.get_by_text(f"Booked in {booking.reference}")).to_be_visible()
        passes()

        page.goto(live_server.url)
        expect(page.get_by_text(f"in {booking.reference}, Spring release")).to_be_visible()
        passes()
        page.get_by_role("link", name="Bookings", exact=True).click()
        expect(page.get_by_role("link", name=booking.reference)).to_be_visible()
        passes()
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Hubs", exact=True).click()
        page.get_by_role("combobox", name="Status").select_option("Recovery")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_text("1 hub on this page")).to_be_visible()
        passes()

        bookings.finish(now=world.clock())
        notices.send(clock=world.clock, limit=10)
        sign_in(world.staff)
        page.goto(f"{live_server.url}/admin/scheduling/notice/?q={booking.reference}")
        page.get_by_role("link", name=f"{booking.reference} is done").click()
        expect(
            page.get_by_text(f"{booking.reference} is done: 1 of 3 hubs run Spring release").first
        ).to_be_visible()
        mail = page.frame_locator("iframe")
        expect(mail.get_by_role("heading", name=f"{booking.reference} is done")).to_be_visible()

    def test_chooses_one_slot_and_cancels_it(
        self, world: World, page: Page, sign_in: SignIn, passes: Passes
    ) -> None:
        start = world.clock().replace(minute=0, second=0, microsecond=0) + timedelta(days=2)
        for hours, room in ((0, 1), (1, 7)):
            slot = world.slot(start=timedelta(days=2), room=room)
            slot.start_at = start + timedelta(hours=hours)
            slot.end_at = slot.start_at + timedelta(hours=1)
            slot.save()
        sign_in(world.person)
        choose_all(page)

        picture = page.get_by_role("table", name="Slots on North")
        expect(picture.get_by_role("link", name="1 of 3 chosen hubs fit")).to_have_count(1)
        fits = picture.get_by_role("link", name="all 3 chosen hubs fit")
        expect(fits).to_have_count(1)
        fits.press("Enter")
        page.get_by_role("button", name="Book 3 hubs").click()
        page.get_by_role("link", name="Cancel").click()
        expect(page.get_by_role("button", name="Cancel 3 hubs")).to_be_visible()
        passes()
        page.get_by_label("Why do you cancel?").fill("A tariff change is due that day")
        page.get_by_role("button", name="Cancel 3 hubs").click()

        expect(page.get_by_role("status").get_by_text("3 hubs are cancelled")).to_be_visible()
        expect(page.get_by_role("heading", name="All 3 hubs have ended")).to_be_visible()
        expect(page.get_by_text("A tariff change is due that day")).to_be_visible()
        passes()
        assert set(Deployment.objects.values_list("state", flat=True)) == {"cancelled"}

    def test_turns_the_weeks_without_leaving_the_page(
        self, world: World, page: Page, sign_in: SignIn, passes: Passes
    ) -> None:
        world.slot(start=timedelta(hours=2), room=10)
        last = world.slot(start=timedelta(days=7, hours=2), room=10).start_at.astimezone(LONDON)
        sign_in(world.person)
        choose_all(page)
        expect(page.get_by_role("link", name="Week before")).to_have_count(0)

        page.get_by_role("link", name="Week after").click()

        expect(page.get_by_role("link", name=f"{last:%A} {last.day} {last:%B}")).to_be_visible()
        expect(page.get_by_role("link", name="Week after")).to_have_count(0)
        expect(page.get_by_role("link", name="Week before")).to_be_visible()
        expect(page.get_by_role("heading", name="Your choice")).to_be_visible()
        passes()

    def test_spreads_over_three_nights(
        self, world: World, page: Page, sign_in: SignIn, passes: Passes
    ) -> None:
        nights = three_nights(world)
        sign_in(world.person)
        choose_all(page)

        page.get_by_text("Spread evenly over days and hours of your own").click()
        form = page.locator("form", has=page.get_by_role("button", name="Check this plan"))
        for day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"):
            form.get_by_label(day).check()
        form.get_by_label("From").fill("04:00")
        form.get_by_label("To").fill("05:00")
        passes()
        form.get_by_role("button", name="Check this plan").click()
        expect(page.get_by_role("heading", name="3 hubs without a place")).to_be_visible()
        expect(page.get_by_text("has no open slot within these days and hours")).to_be_visible()
        passes()
        page.get_by_role("link", name="Choose another time").click()
        form.get_by_label("From").fill("02:00")
        form.get_by_role("button", name="Check this plan").click()
        expect(page.get_by_text("3 hubs will get version")).to_be_visible()
        expect(page.get_by_text("Spread evenly over every day, 02:00 to 05:00 UK time")).to_be_visible()
        expect(page.get_by_role("table").get_by_role("row")).to_have_count(4)
        passes()
        page.get_by_role("button", name="Book 3 hubs").click()

        expect(page.get_by_text("Spread evenly over every day, 02:00 to 05:00 UK time")).to_be_visible()
        passes()
        assert list(Slot.objects.order_by("start_at").values_list("start_at", "taken")) == [
            (night, 1) for night in nights
        ]

    def test_plans_three_nights_around_a_protected_window(
        self, world: World, page: Page, sign_in: SignIn, passes: Passes
    ) -> None:
        nights = three_nights(world)
        middle = nights[1].astimezone(LONDON)
        sign_in(world.person)
        page.get_by_role("link", name="Windows", exact=True).click()
        page.get_by_role("link", name="New window").click()
        page.get_by_label("What for").select_option("Tariff or price change")
        page.get_by_label("Reason").fill("New prices from this night")
        page.get_by_label("From (UK time)").fill(f"{middle:%Y-%m-%dT01:00}")
        page.get_by_label("To (UK time)").fill(f"{middle:%Y-%m-%dT06:00}")
        passes()
        page.get_by_role("button", name="Keep this window").click()
        expect(page.get_by_role("status")).to_contain_text("kept")
        page.get_by_role("link", name="Home").click()

        choose_all(page)
        passes()
        page.get_by_text("Spread evenly over days and hours of your own").click()
        form = page.locator("form", has=page.get_by_role("button", name="Check this plan"))
        for day in ("Tuesday", "Wednesday", "Thursday"):
            form.get_by_label(day).check()
        form.get_by_label("From").fill("02:00")
        form.get_by_label("To").fill("05:00")
        form.get_by_role("button", name="Check this plan").click()
        expect(page.get_by_role("table").get_by_role("row")).to_have_count(3)
        passes()
        page.get_by_role("button", name="Book 3 hubs").click()

        expect(page.get_by_text(re.compile("Spread evenly over Tuesday.*, 02:00 to 05:00"))).to_be_visible()
        passes()
        taken = Slot.objects.order_by("start_at").values_list("start_at", "taken")
        assert list(taken) == [(nights[0], 2), (nights[1], 0), (nights[2], 1)]

    def test_drags_from_one_slot_to_another(
        self, world: World, page: Page, sign_in: SignIn, passes: Passes
    ) -> None:
        three_nights(world)
        sign_in(world.person)
        choose_all(page)
        cells = page.get_by_role("table", name="Slots on North").get_by_role("link", name="room for 4")
        cells.first.scroll_into_view_if_needed()

        cells.first.hover()
        page.mouse.down()
        cells.nth(1).hover()
        expect(page.get_by_text("room for 8.")).to_be_visible()
        passes()
        page.mouse.up()

        expect(page.get_by_text("As early as possible, from the slot of")).to_be_visible()
        expect(page.get_by_text("3 hubs will get version")).to_be_visible()

    def test_chooses_from_one_slot_to_another_by_keyboard(
        self, world: World, page: Page, sign_in: SignIn, passes: Passes
    ) -> None:
        three_nights(world)
        sign_in(world.person)
        choose_all(page)

        page.get_by_role("link", name="From one slot to another").press("Enter")
        page.get_by_role("link", name="Choose it as the first.").first.press("Enter")
        expect(page.get_by_role("status").filter(has_text="Now choose the last.")).to_be_visible()
        passes()
        page.get_by_role("link", name="Choose it as the last.").first.press("Enter")
        expect(page.get_by_text("3 hubs will get version")).to_be_visible()
        page.go_back()
        page.get_by_role("button", name="Check from first to last").press("Enter")
        expect(page.get_by_text("3 hubs will get version")).to_be_visible()
        passes()

    def test_uploads_a_file_and_gets_back_what_could_not_be_taken(
        self, world: World, page: Page, tmp_path: Path, sign_in: SignIn, passes: Passes
    ) -> None:
        world.slot(start=timedelta(hours=5), room=10)
        good = format_eui64(world.hubs(1)[0].chf_id)
        file = tmp_path / "hubs.csv"
        file.write_text(f"CHF ID\n{good}\n{good}\n=HYPERLINK(1)\n00-00-00-00-00-00-00-01\n")
        sign_in(world.person)
        page.get_by_role("link", name=BOOK).click()
        page.get_by_label("Those in a file").check()
        page.get_by_role("button", name="Go on: when").click()
        expect(page.get_by_role("alert")).to_contain_text("Choose a file")
        passes()

        page.get_by_label("CSV or XLSX file").set_input_files(file)
        page.get_by_role("button", name="Go on: when").click()

        expect(page.get_by_text("1 hub can go")).to_be_visible()
        expect(page.get_by_text("1 line: Named more than once")).to_be_visible()
        passes()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download all 3").click()
        rows = list(csv.reader(download.value.path().read_text("utf-8-sig").splitlines()))
        assert [row[:2] for row in rows[1:]] == [
            [good, "Named more than once"],
            ["'=HYPERLINK(1)", "Not a CHF ID, MPAN or MPRN"],
            ["00-00-00-00-00-00-00-01", "Not one of your hubs"],
        ]


class TestWithoutScript:
    @pytest.fixture
    def browser_context_args(self, browser_context_args: dict[str, object]) -> dict[str, object]:
        """Switch JavaScript off, on a phone."""
        return {
            **browser_context_args,
            "java_script_enabled": False,
            "viewport": {"width": 390, "height": 844},
        }

    def test_a_booking_can_be_made(self, world: World, page: Page, sign_in: SignIn) -> None:
        world.slot(start=timedelta(hours=5), room=10)
        sign_in(world.person)

        choose_all(page)
        page.get_by_role("link", name="As early as possible").click()
        page.get_by_role("button", name="Book 3 hubs").click()

        expect(page.get_by_role("heading", name="0 of 3 hubs have ended")).to_be_visible()


class TestTwoSuppliers:
    def test_one_objects_and_the_other_sees_its_booking_planned_anew(
        self, world: World, page: Page, sign_in: SignIn, passes: Passes
    ) -> None:
        nights = three_nights(world)
        shared = "\n".join(format_eui64(hub.chf_id) for hub in world.shared(2))
        other = User.objects.create_user(
            email="person@southern.example.com", password=PASSWORD, supplier=world.southern
        )
        booking = world.book(world.choose_ids(shared), start_at=nights[0])
        sign_in(other)
        expect(page.get_by_text("2 shared hubs to answer for")).to_be_visible()
        page.get_by_role("link", name="Answer for shared hubs").click()
        expect(page.get_by_role("heading", name="Spring release: 2 hubs in 1 slot")).to_be_visible()
        passes()
        page.get_by_role("link", name="list them").click()
        expect(page.get_by_role("heading", name="Its hubs")).to_be_visible()
        passes()

        page.get_by_role("link", name="Object").click()
        passes()
        page.get_by_role("button", name="Show what would happen").click()
        expect(page.get_by_role("alert")).to_contain_text("Nothing was done.")
        passes()
        page.get_by_label("Why not then?").fill("New prices from that night")
        page.get_by_label("What for").select_option("Tariff or price change")
        page.get_by_label("For which hubs").select_option("All our hubs on this network")
        page.get_by_role("button", name="Show what would happen").click()
        expect(page.get_by_text("2 will move to the first slots clear for both")).to_be_visible()
        passes()
        page.get_by_role("button", name="Object to 2 hubs").click()
        expect(page.get_by_role("status").get_by_text("You have objected to 2 hubs")).to_be_visible()
        passes()

        sign_in(world.person)
        page.get_by_role("link", name="Bookings", exact=True).click()
        page.get_by_role("link", name=booking.reference).click()
        expect(page.get_by_role("heading", name="Objections")).to_be_visible()
        expect(page.get_by_text("New prices from that night").first).to_be_visible()
        waits = page.get_by_role("region", name="Parts of this booking that wait for another Supplier")
        expect(waits.get_by_text(f"gas Supplier {world.southern.gas_participant_id}")).to_be_visible()
        passes()

        sign_in(other)
        page.get_by_role("link", name="Consents").click()
        page.get_by_role("button", name="Agree to all 2").click()
        expect(page.get_by_role("status").get_by_text("Agreed: 2 hubs in 1 slot")).to_be_visible()
        expect(page.get_by_text("Nobody waits for your answer")).to_be_visible()
        passes()
        assert list(Slot.objects.order_by("start_at").values_list("taken", flat=True)) == [0, 2, 0]
