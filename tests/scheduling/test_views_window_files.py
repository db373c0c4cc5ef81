"""Windows from a file: what is taken, what comes back, and that both forms judge alike."""

import csv
import io
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from hubs.identifiers import format_eui64
from hubs.models import PaymentMode
from portal.ground.audit import AuditEntry
from scheduling.models import ProtectedWindow
from scheduling.operations import groups
from scheduling.operations import windows as acts
from scheduling.views import window_files
from tests.scheduling.world import World

UPLOAD = "/windows/upload/"
Scope = ProtectedWindow.Scope
ONCE = {
    "kind": "tariff",
    "reason": "April prices",
    "scope": "all",
    "from": "2030-04-01 00:00",
    "to": "2030-04-02 00:00",
}
WEEKLY = {
    "kind": "prepayment",
    "reason": "Overnight",
    "scope": "all",
    "repeats": "weekly",
    "weekdays": "Mon Fri",
    "opens": "20:00",
    "closes": "02:00",
}


@pytest.fixture
def world(todays_world: World, client: Client) -> World:
    """A world whose northern person is signed in."""
    client.force_login(todays_world.person)
    return todays_world


def words(response: Any) -> str:
    return " ".join(response.content.decode().split())


def written(*rows: dict[str, str], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(window_files.COLUMNS), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def upload(client: Client, content: bytes) -> Any:
    return client.post(UPLOAD, {"file": SimpleUploadedFile("windows.csv", content)}, follow=True)


def refused(response: Any) -> list[str]:
    """Return the reasons on a page of results."""
    return [f"{row.reason} {row.forward}".strip() for row in response.context["refused"]]


class TestUpload:
    def test_keeps_one_that_comes_once_in_uk_time(self, world: World, client: Client) -> None:
        response = upload(client, written(ONCE))

        window = ProtectedWindow.objects.get()
        assert window.start_at == datetime(2030, 3, 31, 23, tzinfo=UTC)  # British Summer Time
        assert (window.is_hard, window.kind, window.scope) == (True, "tariff", "all")
        assert (window.supplier, window.made_by) == (world.northern, world.person)
        assert AuditEntry.objects.get(verb="window.kept").subject == f"window:{window.pk}"
        assert refused(response) == []
        assert (response.context["upload"].rows, response.context["upload"].taken) == (1, 1)

    def test_keeps_weekly_ones(self, world: World, client: Client) -> None:
        upload(
            client,
            written(WEEKLY | {"strength": "Soft", "first day": "2030-01-04", "last day": "31/12/2030"}),
        )

        window = ProtectedWindow.objects.get()
        assert [day.label for day in window.days] == ["Monday", "Friday"]
        assert (window.starts, window.ends, window.is_hard) == (time(20), time(2), False)
        assert (window.valid_from, window.valid_until) == (date(2030, 1, 4), date(2030, 12, 31))

    def test_keeps_each_scope_by_its_words(self, world: World, client: Client) -> None:
        hubs = world.hubs(3)
        group, _ = groups.make(
            supplier=world.northern,
            name="Tower  blocks",
            hubs=io.BytesIO(format_eui64(hubs[0].chf_id).encode()),
            by=world.person,
            now=world.clock(),
        )
        listed = " ".join(format_eui64(hub.chf_id) for hub in hubs[1:])

        response = upload(
            client,
            written(
                ONCE | {"scope": "Network", "network": world.network.name.upper()},
                ONCE | {"scope": "payment mode", "payment mode": "prepayment"},
                ONCE | {"scope": "group", "group": "tower blocks"},
                ONCE | {"scope": "hubs", "CHF IDs": listed},
            ),
        )

        assert refused(response) == []
        of_group, of_list, network, mode = ProtectedWindow.objects.order_by("scope")
        assert network.network == world.network
        assert mode.payment_mode == PaymentMode.PREPAYMENT
        assert of_group.group == group
        assert of_list.hubs == 2
        assert {one.hub for one in of_list.listed.all()} == {hub.chf_id for hub in hubs[1:]}

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"kind": "party"}, "kind: “party” is not known. Write change_of_supplier, tariff"),
            ({"kind": ""}, "kind: This field is required."),
            ({"reason": ""}, "reason: This field is required."),
            ({"strength": "strong"}, "strength: “strong” is not known. Write hard or soft."),
            (
                {"scope": "moon"},
                "scope: “moon” is not known. Write all, network, payment mode, group or hubs.",
            ),
            ({"scope": "network"}, "network: This is needed here."),
            ({"scope": "network", "network": "Mars"}, "network: “Mars” is not known."),
            ({"scope": "group", "group": "Theirs"}, "group: “Theirs” is not one of your groups."),
            ({"scope": "hubs"}, "CHF IDs: This is needed here."),
            ({"scope": "hubs", "CHF IDs": "00-DB what"}, "CHF IDs: Line 1: “00-DB” is not a CHF or GPF ID"),
            (
                {"scope": "hubs", "CHF IDs": "00-DB-12-34-56-78-90-A0"},
                "1 of the 1 hubs in the list are not among",
            ),
            ({"from": "soon"}, "from: Give a date and a time"),
            ({"from": "0001-01-01 00:00"}, "from: Give a year from 2000 to 2199."),
            ({"from": "9999-12-31 23:59-01:00"}, "from: Give a year from 2000 to 2199."),
            ({"from": ""}, "from: This is needed here."),
            ({"to": "2030-04-01 00:00"}, "to: The end is not after the start."),
            ({"from": "2020-04-01 00:00", "to": "2020-04-02 00:00"}, "This window is over already."),
            ({"to": "2030-06-02 00:00", "from": "2030-03-31 01:30"}, "does not exist in UK time"),
            ({"from": "2030-03-01 00:00", "to": "2030-10-27 01:30"}, "Write the offset behind the time"),
            ({"repeats": "yearly"}, "repeats: “yearly” is not known. Write once or weekly."),
            ({"weekdays": "Moonday"}, "weekdays: “Moonday” is not a weekday."),
            ({"repeats": "weekly"}, "weekdays: This is needed here."),
        ],
    )
    def test_returns_a_row_that_cannot_be_kept(
        self, changes: dict[str, str], reason: str, world: World, client: Client
    ) -> None:
        response = upload(client, written(ONCE | changes, WEEKLY))

        [answer] = refused(response)
        assert reason in answer
        assert [window.kind for window in ProtectedWindow.objects.all()] == ["prepayment"]

    def test_takes_an_instant_where_an_offset_is_written(self, world: World, client: Client) -> None:
        upload(
            client,
            written(ONCE | {"from": "2030-10-27 01:30+01:00", "to": "2030-10-27T01:30+00:00"}),
        )

        window = ProtectedWindow.objects.get()
        assert window.start_at == datetime(2030, 10, 27, 0, 30, tzinfo=UTC)
        assert window.end_at == datetime(2030, 10, 27, 1, 30, tzinfo=UTC)

    def test_reads_days_as_a_british_spreadsheet_writes_them(self, world: World, client: Client) -> None:
        upload(client, written(ONCE | {"from": "01/04/2030 00:00", "to": "2/4/2030 00:00"}))

        window = ProtectedWindow.objects.get()
        assert window.end_at == datetime(2030, 4, 1, 23, tzinfo=UTC)

    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    def test_returns_refused_rows_so_that_they_can_be_uploaded_again(
        self, delimiter: str, world: World, client: Client
    ) -> None:
        bad = ONCE | {"scope": "moon", "reason": "-1"}
        first = upload(client, b"\xef\xbb\xbf" + written(bad, ONCE, delimiter=delimiter))

        download = client.get(f"{first.redirect_chain[-1][0]}refused/")
        returned = b"".join(download.streaming_content)  # type: ignore[attr-defined]
        second = upload(client, returned.replace(b"moon", b"all"))

        assert (
            returned.decode("utf-8-sig")
            .splitlines()[0]
            .endswith(f"last day{delimiter}Reason{delimiter}Way forward")
        )
        assert refused(second) == []
        assert [window.reason for window in ProtectedWindow.objects.order_by("id")] == ["April prices", "-1"]

    def test_finds_columns_in_any_order_and_leaves_out_what_it_does_not_know(
        self, world: World, client: Client
    ) -> None:
        content = "TO,Colour,from,Scope,KIND,Reason\n2030-04-02 00:00,red,2030-04-01 00:00,all,other,Quiet\n"

        upload(client, content.encode())

        assert ProtectedWindow.objects.get().reason == "Quiet"

    def test_does_not_keep_a_window_twice(self, world: World, client: Client) -> None:
        upload(client, written(ONCE))

        response = upload(client, written(ONCE, WEEKLY, WEEKLY))

        assert refused(response) == ["You keep this very window already."] * 2
        assert ProtectedWindow.objects.count() == 2

    def test_counts_the_rows_of_a_file_together_against_the_cap(self, world: World, client: Client) -> None:
        night = WEEKLY | {"weekdays": "daily", "closes": "07:00"}
        morning = night | {"scope": "payment mode", "opens": "08:00", "closes": "10:00"}
        mornings = [morning | {"payment mode": mode} for mode in ("Credit", "Prepayment")]

        response = upload(client, written(night, *mornings, WEEKLY | {"strength": "soft"}))

        reasons = refused(response)
        assert len(reasons) == 2
        assert all("hard windows would cover" in reason for reason in reasons)
        assert ProtectedWindow.objects.count() == 2

    def test_counts_lists_of_a_file_that_share_a_hub(self, world: World, client: Client) -> None:
        first, second = world.hubs(2)
        daily = WEEKLY | {"weekdays": "daily", "scope": "hubs"}
        both = f"{format_eui64(first.chf_id)} {format_eui64(second.chf_id)}"

        response = upload(
            client,
            written(
                daily | {"opens": "00:00", "closes": "08:00", "CHF IDs": both},
                daily | {"opens": "08:00", "closes": "16:00", "CHF IDs": format_eui64(second.chf_id)},
                daily | {"opens": "08:00", "closes": "10:00", "CHF IDs": format_eui64(first.chf_id)},
            ),
        )

        assert len(refused(response)) == 1
        assert [window.ends for window in ProtectedWindow.objects.order_by("id")] == [time(8), time(10)]

    @pytest.mark.parametrize(
        ("content", "answer"),
        [
            (b"PK\x03\x04", "The file is a workbook."),
            (b"kind,scope\n\xff\xfe", "not text in UTF-8"),
            (b"hub\n1", "names no column “kind”"),
            (b"\n", "names no column “kind”"),
            (b"kind,scope\n,\n", "holds no rows below its header"),
            (b'kind,scope\n"' + b"x" * 140_000 + b'",all', "Line 2 cannot be read as CSV"),
        ],
    )
    def test_refuses_a_file_that_is_none(
        self, content: bytes, answer: str, world: World, client: Client
    ) -> None:
        response = upload(client, content)

        assert answer in words(response)
        assert not ProtectedWindow.objects.exists()

    @pytest.mark.parametrize(
        ("limit", "value", "answer"),
        [
            ("MOST_ROWS", 1, "The file has 2 rows; the most is 1."),
            ("FILE_LIMIT", 100, "The file has more than 0 MB."),
        ],
    )
    def test_keeps_within_its_limits(
        self,
        limit: str,
        value: int,
        answer: str,
        world: World,
        client: Client,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(window_files, limit, value)

        response = upload(client, written(ONCE, WEEKLY))

        assert answer in words(response)
        assert not ProtectedWindow.objects.exists()

    def test_explains_every_column(self, world: World, client: Client) -> None:
        explained = ", ".join(name for name, _ in window_files.EXPLAINED)

        assert explained == ", ".join(window_files.COLUMNS)
        assert "Mon Tue Fri" in words(client.get(UPLOAD))


class TestExample:
    def test_can_be_uploaded_as_it_is(self, world: World, client: Client) -> None:
        response = upload(client, client.get("/windows/example.csv").content)

        years = {window.start_at.year for window in ProtectedWindow.objects.exclude(start_at=None)}
        assert refused(response) == []
        assert len(years) == 1


class TestProtectMany:
    def test_answers_for_each_wish_in_order(self, world: World) -> None:
        def wish(**facts: Any) -> acts.Wish:
            start = world.clock() + timedelta(days=1)
            window = ProtectedWindow(
                **{
                    "kind": "other",
                    "reason": "Quiet",
                    "scope": Scope.ALL,
                    "start_at": start,
                    "end_at": start + timedelta(hours=1),
                    **facts,
                }
            )
            return acts.Wish(window)

        reasons = acts.protect_many(
            wishes=[wish(), wish(), wish(scope=Scope.HUBS), wish(is_hard=False)],
            supplier=world.northern,
            by=world.person,
            now=world.clock(),
        )

        assert reasons == ["", "You keep this very window already.", "The list names no hub.", ""]
        assert ProtectedWindow.objects.count() == 2
