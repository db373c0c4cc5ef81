"""Lists as files: asked for, written in the background, taken away, forgotten."""

import csv
import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from openpyxl import load_workbook

from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub
from hubs.operations import count_fleet
from portal import lists, retention
from portal.ground import workbooks
from portal.ground.models import AuditEntry
from portal.ground.roles import SupplierRole
from portal.models import User
from scheduling.models import Export
from scheduling.operations import exports
from scheduling.queries.exports import KEPT
from tests.factories import UserFactory
from tests.scheduling.test_groups import make as make_group
from tests.scheduling.test_views_hubs import words
from tests.scheduling.world import World

State = Export.State
DAY = timedelta(days=1)


@pytest.fixture
def world(todays_world: World, client: Client, tmp_path: Path, settings: Any) -> World:
    """Five hubs, of which three are booked; files go to a folder of the test's."""
    settings.MEDIA_ROOT = tmp_path
    world = todays_world
    world.hubs(3)
    world.slot(start=timedelta(hours=5), room=100)
    count_fleet(now=world.clock())
    world.book()
    world.hubs(2)
    client.force_login(world.person)
    return world


def ask(
    world: World, *, by: User | None = None, kind: str = "csv", name: str = "hubs", **said: str
) -> Export:
    person = by or world.person
    found = lists.opened(
        name=name,
        subject=said.get("of", ""),
        query=said.get("query", ""),
        supplier=world.northern,
        person=person,
        now=world.clock(),
    )
    return exports.ask(
        supplier=world.northern,
        name=name,
        subject=found.key(),
        query=found.query(),
        title=found.heading(),
        kind=Export.Format(kind),
        expected=found.expected(),
        by=person,
        now=world.clock(),
    )


def write(world: World, **options: Any) -> bool:
    return exports.make_next(
        **{
            "source_of": lambda export: lists.source_of(export, world.clock()),
            "clock": world.clock,
            **options,
        }
    )


def written(export: Export) -> bytes:
    export.refresh_from_db()
    assert export.state == State.DONE, export.error
    with default_storage.open(export.stored) as file:
        content: bytes = file.read()
    assert len(content) == export.size
    return content


def rows_of(export: Export) -> list[list[str]]:
    return list(csv.reader(io.StringIO(written(export).decode("utf-8-sig"))))


class TestAFile:
    def test_has_the_filter_the_order_and_the_columns_of_the_page(self, world: World) -> None:
        world.hubs(1, payment_mode=2)
        export = ask(world, query="payment_mode=1&sort=-hub&columns=payment_mode&columns=network")
        write(world)

        heads, *rows = rows_of(export)
        assert heads == ["CHF ID", "Network", "Payment mode"]
        expected = CommunicationsHub.objects.filter(payment_mode=1).order_by("-chf_id")
        assert [row[0] for row in rows] == [format_eui64(hub.chf_id) for hub in expected]
        assert {row[2] for row in rows} == {"Credit"}
        assert export.rows == len(rows) == 5

    def test_has_each_line_once_however_it_is_read(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(exports, "PORTION", 2)
        chief = UserFactory.create(supplier=world.northern, role=SupplierRole.ADMINISTRATOR)
        group = make_group(world, list(CommunicationsHub.objects.filter(lead_id=world.northern.pk)))
        for name, of, lines in (
            ("hubs", "", 5),
            ("group-hubs", str(group.pk), 5),
            ("bookings", "", 1),
            ("record", "", AuditEntry.objects.filter(actor__supplier=world.northern).count() + 4),
        ):
            export = ask(world, by=chief, name=name, of=of)
            write(world)
            rows = rows_of(export)[1:]
            assert len(rows) == lines, name
            assert len({tuple(row) for row in rows}) == lines, name

    def test_of_a_booking_has_the_hubs_without_a_place_at_its_end(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(exports, "PORTION", 2)
        world.hubs(100)
        booking = world.book()
        assert (booking.hubs, booking.unplaced) == (97, 5)
        export = ask(world, name="booked-hubs", of=booking.reference)
        write(world)

        rows = rows_of(export)[1:]
        assert len(rows) == booking.hubs + booking.unplaced
        assert [row[3] for row in rows].count("Not placed") == booking.unplaced

    @pytest.mark.parametrize("kind", ["csv", "xlsx"])
    def test_has_no_cell_that_a_spreadsheet_takes_for_a_formula(self, kind: str, world: World) -> None:
        world.protect(start=DAY, reason="=1+1")
        export = ask(world, name="windows", kind=kind)
        write(world)

        content = written(export)
        if kind == "csv":
            assert "'=1+1" in content.decode()
            return
        sheet = load_workbook(io.BytesIO(content)).active
        assert sheet is not None
        [_, row] = sheet.iter_rows()
        assert [(cell.value, cell.data_type) for cell in row][5] == ("=1+1", "s")
        assert row[4].data_type == "n"

    def test_goes_on_in_another_sheet_where_one_is_full(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(workbooks, "MOST_ROWS", 3)
        export = ask(world, kind="xlsx", query="columns=hub")
        write(world)

        book = load_workbook(io.BytesIO(written(export)), read_only=True)
        sheets = [[row[0].value for row in sheet.iter_rows()] for sheet in book.worksheets]
        ids = [
            format_eui64(key) for key in sorted(CommunicationsHub.objects.values_list("chf_id", flat=True))
        ]
        assert sheets == [["CHF ID", *ids[:2]], ["CHF ID", *ids[2:4]], ["CHF ID", *ids[4:]]]

    def test_is_read_as_its_supplier_whatever_the_code_forgets(self, world: World) -> None:
        world.hubs(1, supplier=world.southern)
        export = ask(world)

        class Careless:
            def heads(self) -> list[str]:
                return ["CHF ID"]

            def portion(self, *, after: str, limit: int) -> tuple[list[list[int]], str | None]:
                return [[hub.pk] for hub in CommunicationsHub.objects.all()], None

        write(world, source_of=lambda _: Careless())

        assert len(rows_of(export)) == 1 + 5


class TestWriting:
    def test_ends_where_it_is_stopped(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exports, "PORTION", 2)
        export = ask(world)
        source = lists.source_of(export, world.clock())

        class Stopped:
            heads = staticmethod(source.heads)

            def portion(self, *, after: str, limit: int) -> Any:
                exports.stop(export=export, by=world.person, now=world.clock())
                return source.portion(after=after, limit=limit)

        write(world, source_of=lambda _: Stopped())

        export.refresh_from_db()
        assert (export.state, export.stored, export.rows) == (State.STOPPED, "", 0)
        assert not write(world)
        assert exports.again(export=export, by=world.person, now=world.clock())
        write(world)
        assert len(rows_of(export)) == 6

    def test_is_handed_back_by_who_is_asked_to_stop(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(exports, "PORTION", 2)
        export = ask(world)
        answers = iter([True, True, False])
        write(world, keep_going=lambda: next(answers))

        export.refresh_from_db()
        assert (export.state, export.attempts, export.rows) == (State.WAITING, 0, 0)
        write(world)
        assert len(rows_of(export)) == 6

    def test_is_begun_anew_once_the_lease_of_who_died_is_over(self, world: World) -> None:
        export = ask(world)
        assert exports.take(now=world.clock()) == export
        assert not write(world), "somebody has it"

        world.clock.move(seconds=exports.LEASE.total_seconds() + 1)
        assert write(world)
        assert len(rows_of(export)) == 6
        assert export.attempts == 2

    def test_is_given_up_where_it_kills_whoever_writes_it(self, world: World) -> None:
        export = ask(world)
        for _ in range(exports.ATTEMPTS):
            assert exports.take(now=world.clock()) == export
            world.clock.move(seconds=exports.LEASE.total_seconds() + 1)

        assert not write(world)
        export.refresh_from_db()
        assert export.state == State.FAILED
        assert "more than once" in export.error

    def test_leaves_no_file_where_somebody_else_has_it_by_now(self, world: World) -> None:
        export = ask(world)
        source = lists.source_of(export, world.clock())

        class Slow:
            heads = staticmethod(source.heads)

            def portion(self, *, after: str, limit: int) -> Any:
                world.clock.move(seconds=exports.LEASE.total_seconds() + 1)
                assert exports.take(now=world.clock()) == export
                return source.portion(after=after, limit=limit)

        write(world, source_of=lambda _: Slow())

        export.refresh_from_db()
        assert (export.state, export.token) == (State.RUNNING, 2)
        assert not default_storage.exists(exports.FOLDER)

    def test_says_that_it_went_wrong(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        export = ask(world)

        def broken(_: Export) -> Any:
            raise KeyError("0x17")

        write(world, source_of=broken)

        export.refresh_from_db()
        assert export.state == State.FAILED
        assert "0x17" not in export.error
        assert "0x17" in caplog.text

    @pytest.mark.parametrize(
        ("facts", "sentence"),
        [
            ({"is_active": False}, "no access any more"),
            ({"role": SupplierRole.READ_ONLY}, "may not see the list any more"),
        ],
    )
    def test_asks_again_whether_whoever_asked_may_see_it(
        self, facts: dict[str, Any], sentence: str, world: World
    ) -> None:
        colleague = UserFactory.create(supplier=world.northern, role=SupplierRole.ADMINISTRATOR)
        export = ask(world, name="record", by=colleague)
        User.objects.filter(pk=colleague.pk).update(**facts)
        write(world)

        export.refresh_from_db()
        assert export.state == State.FAILED
        assert sentence in export.error

    def test_is_of_one_at_a_time_in_the_order_of_asking(self, world: World) -> None:
        first, second = ask(world), ask(world, kind="xlsx")

        assert exports.take(now=world.clock()) == first
        assert exports.take(now=world.clock()) is None
        exports.stop(export=first, by=world.person, now=world.clock())
        assert exports.take(now=world.clock()) == second


class TestAsking:
    def post(self, client: Client, **said: str) -> Any:
        return client.post(
            reverse("exports"), {"list": "hubs", "of": "", "query": "", "format": "csv", **said}
        )

    def test_leads_to_a_page_that_says_how_far_it_is(self, world: World, client: Client) -> None:
        response = self.post(client, query="sort=-hub&nonsense=1")
        export = Export.objects.get()

        assert response["Location"] == reverse("one-export", args=[export.pk])
        page = words(client.get(response["Location"]))
        assert "hx-get" in page
        assert "of about 3" in page  # as at the last count
        assert 'href="/hubs/?sort=-hub"' in page
        write(world)
        polled = client.get(response["Location"], headers={"HX-Request": "true"})
        assert polled.status_code == 286
        assert f'href="{reverse("export-file", args=[export.pk])}"' in words(polled)
        assert "Hubs" in words(client.get(reverse("exports")))

    def test_the_same_twice_is_one_export(self, world: World, client: Client) -> None:
        assert self.post(client)["Location"] == self.post(client)["Location"]
        assert Export.objects.count() == 1

    def test_for_too_many_at_a_time_is_refused_with_the_way_forward(
        self, world: World, client: Client
    ) -> None:
        for mode in range(exports.MOST_OPEN):
            self.post(client, query=f"columns=network&sort=-hub&installed_version={mode}")
        response = client.post(reverse("exports"), {"list": "hubs", "format": "xlsx"}, follow=True)

        assert "Wait until one is ready, or stop one." in words(response)
        assert Export.objects.count() == exports.MOST_OPEN

    @pytest.mark.parametrize(
        "said",
        [
            {"list": "passwords"},
            {"format": "pdf"},
            {"list": "booked-hubs", "of": "BK-0000-0000"},
            {"list": "booked-hubs"},
            {"list": "group-hubs", "of": "x"},
            {"list": "consent-hubs", "of": "9" * 40},
        ],
    )
    def test_for_what_is_no_list_is_refused_in_a_sentence(
        self, said: dict[str, str], world: World, client: Client
    ) -> None:
        response = client.post(reverse("exports"), {"list": "hubs", "format": "csv", **said}, follow=True)

        assert "That is no list" in words(response)
        assert not Export.objects.exists()

    def test_for_what_is_another_suppliers_is_refused_just_so(self, world: World, client: Client) -> None:
        group = make_group(world, world.hubs(1))
        client.force_login(UserFactory.create(supplier=world.southern))
        self.post(client, list="group-hubs", of=str(group.pk))

        assert not Export.objects.exists()

    def test_is_for_readers_as_well_but_for_what_administrators_alone_see(
        self, world: World, client: Client
    ) -> None:
        client.force_login(UserFactory.create(supplier=world.northern, role=SupplierRole.READ_ONLY))

        assert self.post(client).status_code == 302
        assert self.post(client, list="record").status_code == 404
        assert list(Export.objects.values_list("list", flat=True)) == ["hubs"]

    def test_goes_on_record(self, world: World, client: Client) -> None:
        self.post(client, query="sort=-hub")
        entry = AuditEntry.objects.get(verb="export.asked")

        assert entry.actor == world.person
        assert entry.facts == {"list": "hubs", "of": "", "query": "sort=-hub", "format": "csv"}


class TestTakingAway:
    @pytest.fixture
    def export(self, world: World) -> Export:
        export = ask(world, kind="xlsx")
        write(world)
        export.refresh_from_db()
        return export

    def test_sends_the_file_with_its_moment_in_its_name_and_to_nobodys_cache(
        self, export: Export, client: Client
    ) -> None:
        response = client.get(reverse("export-file", args=[export.pk]))

        assert b"".join(_content(response)) == written(export)
        name = f"hubs-{export.began_at:%Y%m%dT%H%M%SZ}.xlsx"
        assert response["Content-Disposition"] == f'attachment; filename="{name}"'
        assert response["Content-Type"] == workbooks.KIND
        assert response["Cache-Control"] == "no-store, private"

    def test_is_for_colleagues_who_see_the_list_and_for_no_others(
        self, export: Export, world: World, client: Client
    ) -> None:
        address = reverse("export-file", args=[export.pk])
        Export.objects.filter(pk=export.pk).update(list="record")
        client.force_login(UserFactory.create(supplier=world.northern, role=SupplierRole.OPERATIONS))
        assert client.get(address).status_code == 404
        Export.objects.filter(pk=export.pk).update(list="hubs")
        answer = client.get(address)
        assert answer.status_code == 200
        assert b"".join(_content(answer))
        client.force_login(UserFactory.create(supplier=world.southern))
        assert client.get(address).status_code == 404

    def test_ends_with_its_time_and_can_begin_again(
        self, export: Export, world: World, client: Client
    ) -> None:
        exports.sweep(now=world.clock() + KEPT - DAY)
        assert default_storage.exists(export.stored)
        exports.sweep(now=world.clock() + KEPT)
        assert not default_storage.exists(export.stored)

        response = client.get(reverse("export-file", args=[export.pk]), follow=True)
        assert "The file has gone." in words(response)
        client.post(reverse("one-export", args=[export.pk]), {"again": "yes"})
        write(world)
        assert len(written(export)) == export.size

    def test_of_a_row_that_is_old_ends_with_its_row(self, export: Export, world: World) -> None:
        retention.forget(clock=lambda: world.clock() + 91 * DAY)
        assert Export.objects.filter(pk=export.pk).exists(), "its file is there"
        exports.sweep(now=world.clock() + 91 * DAY)
        retention.forget(clock=lambda: world.clock() + 91 * DAY)

        assert not Export.objects.filter(pk=export.pk).exists()

    def test_leaves_files_that_no_export_knows_for_a_day(self, export: Export, world: World) -> None:
        stray = default_storage.save(f"{exports.FOLDER}/stray", io.BytesIO(b"x"))  # type: ignore[arg-type]
        made = default_storage.get_modified_time(stray)
        exports.sweep(now=made + DAY / 2)
        assert default_storage.exists(stray)
        exports.sweep(now=made + exports.LEFT_BEHIND)

        assert not default_storage.exists(stray)
        assert default_storage.exists(export.stored)


def _content(response: Any) -> Iterator[bytes]:
    yield from response.streaming_content
