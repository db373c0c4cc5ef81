"""Tests of choosing hubs by a file: every row accounted for once, large files read in portions, nobody's hub told."""

import csv
import io
import os
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubs.identifiers import format_eui64
from hubs.models import HubStatus
from hubs.operations import count_fleet
from scheduling import tasks, workbooks
from scheduling.eligibility import Refusal
from scheduling.models import HubSelection, SelectionFile, SelectionRow
from scheduling.operations import selections
from scheduling.operations.bookings import UnableToBook
from scheduling.queries import refusals
from scheduling.sheets import Format, cells_of
from scheduling.views.downloads import xlsx_blocks
from tests.scheduling.world import World

NONE_SMALL = {Format.CSV: 0, Format.XLSX: 0}


def csv_of(*rows: str) -> bytes:
    return "\n".join(rows).encode()


def xlsx_of(*rows: list[str]) -> bytes:
    return b"".join(xlsx_blocks(rows=rows))


def choose(world: World, content: bytes) -> HubSelection:
    return selections.choose_from_file(
        supplier=world.northern,
        release=world.release,
        file=io.BytesIO(content),
        name="hubs.csv",
        by=world.person,
        now=world.clock(),
    )


def receive(world: World, content: bytes) -> HubSelection:
    return selections.receive(
        supplier=world.northern,
        release=world.release,
        file=io.BytesIO(content),
        name="hubs.csv",
        by=world.person,
        now=world.clock(),
    )


def refused(world: World, selection: HubSelection) -> list[tuple[str, Refusal]]:
    return [(row.text, row.refusal) for row in refusals.refused(selection=selection, now=world.clock())]


class TestChooseFromFile:
    def test_takes_all_kinds_of_identifiers_from_one_column(self, world: World) -> None:
        by_chf, by_mpan, by_mprn = (
            world.hubs(1, mpan=mpan, mprn=mprn, gas_supplier=world.northern)[0]
            for mpan, mprn in ((None, None), (1234567890126, None), (None, 3938424403))
        )

        selection = choose(
            world, csv_of("MPxN", format_eui64(by_chf.chf_id), "'1234567890126", "0039 3842 4403"[2:])
        )

        assert selection.eligible == {str(world.network.pk): 3}
        assert selection.refused == {}
        assert set(SelectionRow.objects.values_list("hub", flat=True)) == {
            hub.chf_id for hub in (by_chf, by_mpan, by_mprn)
        }

    def test_tells_nothing_of_an_mpxn_that_is_another_supplier_s(self, world: World) -> None:
        """Also where the hub is in part its own: its number is not."""
        world.hubs(1, supplier=world.southern, mpan=1234567890126)
        world.hubs(1, gas_supplier=world.southern, mprn=3938424403)
        world.hubs(1, supplier=world.southern, gas_supplier=world.northern, mpan=1100000000008)
        world.hubs(1, mpan=1100000000017, status=HubStatus.WITHDRAWN)

        selection = choose(
            world, csv_of("1234567890126", "3938424403", "1100000000008", "1100000000017", "1100000000026")
        )

        assert selection.refused == {str(int(Refusal.NOT_FOUND)): 5}
        assert set(SelectionRow.objects.values_list("hub", "refusal")) == {(None, int(Refusal.NOT_FOUND))}

    def test_gives_the_same_answer_for_a_foreign_and_for_an_unknown_hub(self, world: World) -> None:
        [foreign] = world.hubs(1, supplier=world.southern)

        selection = choose(world, csv_of(format_eui64(foreign.chf_id), "00-00-00-00-00-00-00-01"))

        rows = SelectionRow.objects.order_by("line").values_list("hub", "refusal", "is_doubtful")
        assert len(set(rows)) == 1
        assert selection.refused == {str(int(Refusal.NOT_FOUND)): 2}

    def test_names_an_mpxn_that_leads_to_several_hubs(self, world: World) -> None:
        world.hubs(2, mpan=1234567890126)
        world.hubs(1, mpan=1234567890126, supplier=world.southern)

        assert choose(world, csv_of("1234567890126")).refused == {str(int(Refusal.SEVERAL_HUBS)): 1}

    def test_refuses_a_hub_that_is_named_again_by_another_identifier(self, world: World) -> None:
        [hub] = world.hubs(1, mpan=1234567890126)

        selection = choose(world, csv_of("1234567890126", format_eui64(hub.chf_id), f"{hub.chf_id:016x}"))

        assert selection.eligible == {str(world.network.pk): 1}
        assert refused(world, selection) == [
            (format_eui64(hub.chf_id), Refusal.REPEATED),
            (f"{hub.chf_id:016x}", Refusal.REPEATED),
        ]

    def test_takes_a_number_whose_check_digits_do_not_hold_and_says_so(self, world: World) -> None:
        world.hubs(1, mpan=1234567890127)

        selection = choose(world, csv_of("1234567890127", "1234567890128"))

        assert selection.eligible == {str(world.network.pk): 1}
        assert selection.file.doubtful == 1
        [row] = refusals.refused(selection=selection, now=world.clock())
        assert (row.text, row.refusal) == ("1234567890128", Refusal.NOT_FOUND)
        assert "check digits do not hold" in row.way_forward

    def test_names_the_reason_of_every_row_that_holds_no_identifier(self, world: World) -> None:
        selection = choose(
            world, csv_of("Note,MPAN", "a,1.23457E+12", "b,", "c,abc", "d", "e," + "9" * 5_000)
        )

        assert [refusal for _, refusal in refused(world, selection)] == [
            Refusal.SHORTENED,
            Refusal.NO_IDENTIFIER,
            Refusal.UNREADABLE,
            Refusal.NO_IDENTIFIER,
            Refusal.TOO_LONG,
        ]

    def test_survives_a_line_of_a_hundred_megabytes(self, world: World) -> None:
        [hub] = world.hubs(1)
        text = format_eui64(hub.chf_id).encode()

        selection = choose(world, b"\n".join((b"x" * 100_000_000, text, text)))

        assert selection.eligible == {str(world.network.pk): 1}
        assert [refusal for _, refusal in refused(world, selection)] == [Refusal.TOO_LONG, Refusal.REPEATED]

    def test_gives_every_text_back_as_it_was_written(self, world: World) -> None:
        cells = [
            "nonsense\\",
            "\\N",
            "tab\there",
            'two\r\nlines "and" quotes',
            "\v\x1f\u2028",
            "é ☂ \U0001f600",
        ]
        written = io.StringIO()
        csv.writer(written, quoting=csv.QUOTE_ALL).writerows([cell, "note"] for cell in cells)

        selection = choose(world, written.getvalue().encode())

        rows = selection.rows.order_by("line").values_list("text", flat=True)
        assert [cells_of(line=row) for row in rows] == [
            [cell.replace("\r\n", "\n"), "note"] for cell in cells
        ]

    def test_holds_few_rows_at_a_time_where_they_are_long(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stage = selections._stage
        batches: list[int] = []

        def counting(*args: Any) -> None:
            batches.append(args[1].rows)
            stage(*args)

        monkeypatch.setattr(selections, "_stage", counting)
        monkeypatch.setattr(selections, "BATCH_CHARACTERS", 10_000)

        selection = choose(world, csv_of(*["nonsense " * 400] * 9, *["nonsense"] * 9))

        assert batches == [3, 3, 3, 9]
        assert selection.refused == {str(int(Refusal.UNREADABLE)): 18}

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_accounts_for_every_row_exactly_once(self, world: World, data: st.DataObject) -> None:
        mine = world.hubs(3, mpan=1234567890126, status=HubStatus.COMMISSIONED)
        [foreign] = world.hubs(1, supplier=world.southern)
        known = [format_eui64(hub.chf_id) for hub in (*mine, foreign)]
        cell = st.one_of(
            st.sampled_from([*known, *map(str.lower, known), "1234567890126", "1.2E+12", "nonsense", "=1+1"]),
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6),
        )
        table = data.draw(st.lists(st.lists(cell, min_size=2, max_size=2), min_size=1, max_size=30))
        wanted = [row for row in table if any(map(str.strip, row))]
        is_workbook = data.draw(st.booleans())
        if is_workbook:
            content = xlsx_of(["CHF ID", "Note"], *table)
            wanted = [
                row
                for _, row in workbooks.rows(file=io.BytesIO(content), after=1)
                if any(map(str.strip, row))
            ]
        else:
            written = io.StringIO()
            writer = csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
            writer.writerows([["CHF ID", "Note"], *table])
            content = written.getvalue().encode()
        if not wanted:
            with pytest.raises(selections.UnableToChoose, match="holds no rows"):
                choose(world, content)
            return

        selection = choose(world, content)

        assert sum(selection.eligible.values()) + sum(selection.refused.values()) == len(wanted)
        assert selection.rows.count() == selection.file.rows == len(wanted)
        assert len(refused(world, selection)) == sum(selection.refused.values())


@pytest.fixture
def media(media_root: Path) -> Path:
    """Where the files wait."""
    return media_root / "selections"


class TestReceive:
    def test_reads_a_small_file_at_once(self, world: World, media: Path) -> None:
        assert receive(world, csv_of("nonsense")).state == HubSelection.State.JUDGED
        assert list(media.rglob("*")) == []

    @pytest.mark.parametrize("kind", ["csv", "xlsx"])
    def test_keeps_a_large_one_for_its_reader(self, kind: str, world: World, media: Path) -> None:
        rows = [f"{number:016X}" for number in range(1, 40_000)]
        content = csv_of(*rows) if kind == "csv" else xlsx_of(*([row] for row in rows))

        selection = receive(world, content)

        assert selection.state == HubSelection.State.READING
        assert not selection.rows.exists()
        assert selection.file.format == kind
        with default_storage.open(selection.file.stored) as stored:
            assert stored.read() == content

    def test_refuses_what_is_no_table_before_anything_is_kept(self, world: World, media: Path) -> None:
        with pytest.raises(selections.UnableToChoose, match="UTF-16"):
            receive(world, ("CHF ID\n" * 500_000).encode("utf-16"))

        assert list(media.rglob("*")) == []
        assert not HubSelection.objects.exists()

    def test_keeps_no_file_whose_choice_could_not_be_kept(
        self, world: World, media: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(selections, "SMALL", NONE_SMALL)
        monkeypatch.setattr(SelectionFile, "save", lambda *_, **__: 1 / 0)

        with pytest.raises(ZeroDivisionError):
            receive(world, csv_of("nonsense"))

        assert not [path for path in media.rglob("*") if path.is_file()]
        assert not HubSelection.objects.exists()


class Died(BaseException):
    """A reader that is killed."""


class TestReadNext:
    @pytest.fixture
    def large(self, world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubSelection]:
        """A large file of 25 rows: 20 hubs, a repeated one, a foreign one, nonsense twice, an empty one."""
        monkeypatch.setattr(selections, "SMALL", NONE_SMALL)
        monkeypatch.setattr(selections, "BATCH", 4)
        hubs = [format_eui64(hub.chf_id) for hub in world.hubs(20)]
        [foreign] = world.hubs(1, supplier=world.southern)
        return receive(
            world,
            csv_of(
                "CHF ID,Note",
                *(f"{hub},mine" for hub in hubs),
                f"{hubs[0]},again",
                "",
                format_eui64(foreign.chf_id),
                'nonsense,"two\nlines"',
                ",nothing",
                "nonsense",
            ),
        )

    def read(self, world: World) -> int:
        portions = 0
        while selections.read_next(clock=world.clock):
            portions += 1
        return portions

    def check(self, world: World, selection: HubSelection) -> None:
        selection.refresh_from_db()
        assert selection.state == HubSelection.State.JUDGED
        assert selection.eligible == {str(world.network.pk): 20}
        assert selection.refused == {
            str(int(Refusal.UNREADABLE)): 2,
            str(int(Refusal.REPEATED)): 1,
            str(int(Refusal.NOT_FOUND)): 1,
            str(int(Refusal.NO_IDENTIFIER)): 1,
        }
        assert selection.rows.count() == 25
        file = SelectionFile.objects.get(selection=selection)
        assert (file.rows, file.stored, file.lease_until) == (25, "", None)

    def test_reads_to_the_end_judges_and_deletes_the_file(
        self, world: World, large: HubSelection, media: Path
    ) -> None:
        assert self.read(world) == 1

        self.check(world, large)
        assert not [path for path in media.rglob("*") if path.is_file()]

    def test_reads_in_portions_as_time_allows(self, world: World, large: HubSelection) -> None:
        class Slow:
            def __call__(self) -> Any:
                return world.clock.move(seconds=selections.LEASE.total_seconds() * 0.6)

        selections.read_next(clock=Slow())
        file = SelectionFile.objects.get()
        assert (file.rows, file.lease_until, file.deaths) == (4, None, 0)
        self.read(world)

        self.check(world, large)

    def test_hands_the_file_back_after_a_batch_when_it_is_asked_to_stop(
        self, world: World, large: HubSelection
    ) -> None:
        answers = iter([True, True, False])
        selections.read_next(clock=world.clock, keep_going=lambda: next(answers))
        file = SelectionFile.objects.get()
        assert (file.rows, file.lease_until, file.deaths) == (8, None, 0)
        assert not selections.read_next(clock=world.clock, keep_going=lambda: False)
        self.read(world)

        self.check(world, large)

    def test_leaves_the_file_to_other_hosts_where_this_one_lacks_the_shared_folder(
        self, world: World, large: HubSelection, media: Path
    ) -> None:
        media.rename(media.with_name("elsewhere"))
        for _ in range(selections.DEATHS + 1):
            assert not selections.read_next(clock=world.clock)
        file = SelectionFile.objects.get()
        assert (file.lease_until, file.deaths, file.failure) == (None, 0, "")
        media.with_name("elsewhere").rename(media)
        self.read(world)

        self.check(world, large)

    @pytest.mark.parametrize("step", ["_stage", "_settle"])
    def test_hands_the_file_back_when_it_is_broken_off_which_is_no_death(
        self, step: str, world: World, large: HubSelection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def break_off(*_: object) -> None:
            raise SystemExit

        with monkeypatch.context() as patch:
            patch.setattr(selections, step, break_off)
            for _ in range(selections.DEATHS + 1):
                with pytest.raises(SystemExit):
                    selections.read_next(clock=world.clock)
        file = SelectionFile.objects.get()
        assert (file.lease_until, file.deaths) == (None, 0)
        self.read(world)

        self.check(world, large)

    @pytest.mark.parametrize("after", range(7))
    def test_goes_on_where_a_reader_died(
        self, after: int, world: World, large: HubSelection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Before, in and after each batch: what was committed stays, and nothing is doubled."""
        stage = selections._stage
        staged = 0

        def dying(*batch: Any) -> None:
            nonlocal staged
            stage(*batch)
            staged += 1
            if staged > after:
                raise Died

        monkeypatch.setattr(selections, "_stage", dying)
        with pytest.raises(Died):
            selections.read_next(clock=world.clock)
        monkeypatch.setattr(selections, "_stage", stage)
        assert large.rows.count() == 4 * after
        assert not selections.read_next(clock=world.clock)  # its lease still stands

        world.clock.move(seconds=selections.LEASE.total_seconds())
        self.read(world)

        self.check(world, large)

    def test_judges_what_a_reader_had_read_that_died_before_it_could(
        self, world: World, large: HubSelection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settle = selections._settle

        def dying(*_: object) -> None:
            raise Died

        monkeypatch.setattr(selections, "_settle", dying)
        with pytest.raises(Died):
            selections.read_next(clock=world.clock)
        monkeypatch.setattr(selections, "_settle", settle)
        world.clock.move(seconds=selections.LEASE.total_seconds())
        self.read(world)

        self.check(world, large)

    def test_tidies_up_after_a_reader_that_died_when_all_was_done(
        self, world: World, large: HubSelection, monkeypatch: pytest.MonkeyPatch, media: Path
    ) -> None:
        delete = selections._delete_file

        def dying(*_: object) -> None:
            raise Died

        monkeypatch.setattr(selections, "_delete_file", dying)
        with pytest.raises(Died):
            selections.read_next(clock=world.clock)
        monkeypatch.setattr(selections, "_delete_file", delete)
        world.clock.move(seconds=selections.LEASE.total_seconds())
        self.read(world)

        self.check(world, large)
        assert not [path for path in media.rglob("*") if path.is_file()]

    def test_leaves_a_file_alone_that_another_reader_took_over(
        self, world: World, large: HubSelection
    ) -> None:
        asked = 0

        def clock() -> datetime:
            """Be away, after one batch, for so long that another reads the file meanwhile."""
            nonlocal asked
            asked += 1
            if asked == 3:
                world.clock.move(seconds=2 * selections.LEASE.total_seconds())
                assert selections.read_next(clock=world.clock)
            return world.clock()

        assert selections.read_next(clock=clock)

        assert asked == 3
        self.check(world, large)

    def test_gives_a_file_up_on_which_readers_keep_dying(
        self, world: World, large: HubSelection, monkeypatch: pytest.MonkeyPatch, media: Path
    ) -> None:
        def dying(*_: object) -> None:
            raise Died

        monkeypatch.setattr(selections, "_stage", dying)
        for _ in range(selections.DEATHS):
            with pytest.raises(Died):
                selections.read_next(clock=world.clock)
            world.clock.move(seconds=selections.LEASE.total_seconds())
        self.read(world)

        large.refresh_from_db()
        assert large.state == HubSelection.State.UNREADABLE
        assert "failed 3 times" in SelectionFile.objects.get().failure
        assert not large.rows.exists()
        assert not [path for path in media.rglob("*") if path.is_file()]

    def test_says_that_the_file_is_gone(self, world: World, large: HubSelection) -> None:
        default_storage.delete(SelectionFile.objects.get().stored)

        self.read(world)

        assert "no longer there" in SelectionFile.objects.get().failure

    def test_says_that_a_workbook_is_damaged_further_down(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(selections, "SMALL", NONE_SMALL)
        whole = xlsx_of(*([f"{number:016X}"] for number in range(20_000)))
        middle = len(whole) // 2
        selection = receive(world, whole[:middle] + b"\0" * 200 + whole[middle + 200 :])

        self.read(world)

        selection.refresh_from_db()
        assert selection.state == HubSelection.State.UNREADABLE
        assert "damaged" in selection.file.failure
        assert not selection.rows.exists()

    def test_reads_nothing_where_nothing_waits(self, world: World) -> None:
        assert not selections.read_next(clock=world.clock)

    def test_is_woken_by_the_timetable(self, todays_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(selections, "SMALL", NONE_SMALL)
        selection = receive(todays_world, csv_of("nonsense"))

        tasks.read_files()

        selection.refresh_from_db()
        assert selection.refused == {str(int(Refusal.UNREADABLE)): 1}

    def test_is_waited_for_by_a_booking(self, world: World, large: HubSelection) -> None:
        world.slot(start=timedelta(hours=5), room=50)

        with pytest.raises(UnableToBook, match="has not been read to its end"):
            world.book(large)

        self.read(world)
        large.refresh_from_db()
        assert world.book(large).hubs == 20


class TestSweep:
    @pytest.fixture
    def waiting(self, world: World, monkeypatch: pytest.MonkeyPatch) -> HubSelection:
        monkeypatch.setattr(selections, "SMALL", NONE_SMALL)
        return receive(world, csv_of("nonsense"))

    def leave(self, world: World, media: Path, name: str, *, hours: float) -> Path:
        """Leave a file behind whose row was never committed, or is done."""
        file = media / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"nonsense")
        at = (world.clock() - timedelta(hours=hours)).timestamp()
        os.utime(file, (at, at))
        return file

    def test_deletes_what_no_row_names_and_leaves_what_waits_or_has_just_come(
        self, world: World, waiting: HubSelection, media: Path
    ) -> None:
        stored = media.parent / waiting.file.stored
        os.utime(stored, (0, 0))
        old, new = (
            self.leave(world, media, name, hours=hours) for name, hours in (("old", 1.1), ("new", 0.9))
        )

        assert selections.sweep(now=world.clock()) == 1

        assert (stored.exists(), new.exists(), old.exists()) == (True, True, False)

    def test_deletes_the_file_of_a_selection_that_is_gone(
        self, world: World, waiting: HubSelection, media: Path
    ) -> None:
        stored = media.parent / waiting.file.stored
        os.utime(stored, (0, 0))
        waiting.delete()

        assert selections.sweep(now=world.clock()) == 1

        assert not stored.exists()

    def test_finds_nothing_where_nothing_was_uploaded(self, world: World, media: Path) -> None:
        assert selections.sweep(now=world.clock()) == 0

    def test_deletes_rows_whose_selection_is_gone_and_no_others(self, world: World, media: Path) -> None:
        kept = [choose(world, csv_of("nonsense", "more")) for _ in range(5)]
        SelectionRow.objects.bulk_create(
            SelectionRow(selection_id=uuid.UUID(int=number), line=1, text="")
            for number in (1, 2**127, 2**128 - 1)
        )

        selections.sweep(now=world.clock())

        assert set(SelectionRow.objects.values_list("selection", "line")) == {
            (selection.pk, line) for selection in kept for line in (1, 2)
        }

    def test_is_woken_by_the_timetable(self, todays_world: World, media: Path) -> None:
        left = self.leave(todays_world, media, "left", hours=2)

        tasks.sweep_files()

        assert not left.exists()


class TestConstraints:
    def test_a_file_has_a_known_format(self, world: World) -> None:
        choose(world, csv_of("nonsense"))

        with pytest.raises(IntegrityError, match="selection_file_format_known"):
            SelectionFile.objects.update(format="ods")

    def test_a_row_is_kept_once_per_line(self, world: World) -> None:
        selection = choose(world, csv_of("nonsense", "more"))

        with pytest.raises(IntegrityError, match="selection_row_once_per_line"):
            selection.rows.update(line=2)

    def test_only_a_file_that_is_there_is_leased(self, world: World) -> None:
        choose(world, csv_of("nonsense"))

        with pytest.raises(IntegrityError, match="selection_file_leased_only_while_stored"):
            SelectionFile.objects.update(lease_until=world.clock())


class TestPages:
    @pytest.fixture
    def client(self, client: Client, todays_world: World) -> Client:
        todays_world.hubs(1)
        count_fleet(now=todays_world.clock())
        client.force_login(todays_world.person)
        return client

    def upload(self, client: Client, world: World, content: bytes, name: str) -> Any:
        return client.post(
            reverse("scheduling:book", args=[world.release.pk]),
            {"method": "file", "file": SimpleUploadedFile(name, content)},
        )

    def test_show_how_far_a_large_file_is_and_go_on_by_themselves(
        self, client: Client, todays_world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(selections, "SMALL", NONE_SMALL)
        todays_world.hubs(1)
        response = self.upload(client, todays_world, csv_of("nonsense", "more"), "mine.csv")
        selection = HubSelection.objects.get()
        reading = reverse("scheduling:reading", args=[selection.pk])
        when = reverse("scheduling:when", args=[selection.pk])
        assert response.headers["Location"] == reading
        SelectionFile.objects.update(rows=1)

        page = client.get(reading).content.decode()
        part = client.get(reading, headers={"HX-Request": "true"}).content.decode()

        for shown in (page, part):
            assert "Reading mine.csv" in shown
            assert f'hx-get="{reading}"' in shown
            assert f'<a href="{reading}">Look again</a>' in shown
            assert "row read so far" in shown
        assert "<html" in page
        assert "<html" not in part
        for name in ("when", "check", "refused"):
            elsewhere = client.get(reverse(f"scheduling:{name}", args=[selection.pk]))
            assert elsewhere.headers["Location"] == reading
        assert client.post(reverse("scheduling:check", args=[selection.pk])).headers["Location"] == reading

        tasks.read_files()

        assert client.get(reading).headers["Location"] == when
        assert client.get(reading, headers={"HX-Request": "true"}).headers["HX-Redirect"] == when

    def test_say_why_a_file_could_not_be_read(
        self, client: Client, todays_world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(selections, "SMALL", NONE_SMALL)
        self.upload(client, todays_world, csv_of("", ""), "mine.csv")
        tasks.read_files()

        page = client.get(reverse("scheduling:reading", args=[HubSelection.objects.get().pk]))

        assert "holds no rows" in page.content.decode()
        assert "hx-get" not in page.content.decode().split('id="reading"')[1].split(">")[0]

    def test_give_a_workbook_back_as_a_workbook(self, client: Client, todays_world: World) -> None:
        [hub] = todays_world.hubs(1)
        rows = [
            ["Note", "CHF ID", "More"],
            ["=1+1", "nonsense"],
            ["", format_eui64(hub.chf_id)],
            ["x", "", "1"],
        ]
        self.upload(client, todays_world, xlsx_of(*rows), "mine.xlsx")
        selection = HubSelection.objects.get()

        response = client.get(reverse("scheduling:refused", args=[selection.pk]))

        assert response.headers["Content-Disposition"].endswith('.xlsx"')
        back = io.BytesIO(b"".join(response.streaming_content))  # type: ignore[attr-defined]
        assert [cells for _, cells in workbooks.rows(file=back)] == [
            ["Note", "CHF ID", "More", "Reason", "Way forward"],
            ["=1+1", "nonsense", "", Refusal.UNREADABLE.label, Refusal.UNREADABLE.way_forward],
            ["x", "", "1", Refusal.NO_IDENTIFIER.label, Refusal.NO_IDENTIFIER.way_forward],
        ]
        again = choose(todays_world, back.getvalue())
        assert again.refused == selection.refused

    def test_give_semicolons_back_as_semicolons(self, client: Client, todays_world: World) -> None:
        self.upload(client, todays_world, csv_of("nonsense;1,5", f"{1:016X};a"), "mine.csv")

        response = client.get(reverse("scheduling:refused", args=[HubSelection.objects.get().pk]))

        content = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
        assert content.splitlines()[0].startswith("nonsense;1,5;Not a CHF ID")

    def test_say_that_check_digits_do_not_hold(self, client: Client, todays_world: World) -> None:
        todays_world.hubs(1, mpan=1234567890127)
        self.upload(client, todays_world, csv_of("1234567890127"), "mine.csv")

        page = client.get(reverse("scheduling:when", args=[HubSelection.objects.get().pk])).content.decode()

        assert "1 of the rows has an MPAN or MPRN whose check digits do not hold" in " ".join(page.split())
