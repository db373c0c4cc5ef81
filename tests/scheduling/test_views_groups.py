"""Saved groups as people keep them: pages, lists with refused rows, and booking by a group."""

import io
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub, PaymentMode
from hubs.operations import count_fleet
from portal.models import User
from scheduling import forms
from scheduling.models import GroupedHub, HubGroup, HubSelection, ProtectedWindow
from scheduling.operations import groups as acts
from scheduling.operations import uploads
from scheduling.views import groups as pages
from tests.scheduling.world import World

LIST, NEW = "/groups/", "/groups/new/"


@pytest.fixture
def world(todays_world: World, client: Client) -> World:
    """A world whose northern person is signed in."""
    client.force_login(todays_world.person)
    return todays_world


def words(response: Any) -> str:
    return " ".join(response.content.decode().split())


def listed(*hubs: CommunicationsHub) -> str:
    return "\n".join(format_eui64(hub.chf_id) for hub in hubs)


def make(world: World, *hubs: CommunicationsHub, name: str = "Flats") -> HubGroup:
    group, _ = acts.make(
        supplier=world.northern,
        name=name,
        hubs=io.BytesIO(listed(*hubs).encode()),
        by=world.person,
        now=world.clock(),
    )
    return group


def members() -> set[int]:
    return set(GroupedHub.objects.values_list("hub", flat=True))


class TestGroups:
    def test_says_what_would_be_here(self, world: World, client: Client) -> None:
        assert "No groups yet" in words(client.get(LIST))

    def test_lists_own_ones_by_name_with_their_windows(self, world: World, client: Client) -> None:
        hubs = world.hubs(3, gas_supplier=world.southern)
        make(world, *hubs[:1], name="Towers")
        flats = make(world, *hubs)
        world.protect(
            weekdays=1, starts="01:00", ends="02:00", scope=ProtectedWindow.Scope.GROUP, group=flats
        )
        acts.make(
            supplier=world.southern,
            name="Theirs",
            hubs=io.BytesIO(listed(*hubs).encode()),
            by=world.person,
            now=world.clock(),
        )

        table = client.get(LIST).context["table"]

        rows = [(row.record.group.name, row.record.group.hubs, row.record.windows) for row in table.rows]
        assert rows == [("Flats", 3, 1), ("Towers", 1, 0)]


class TestNewGroup:
    @pytest.mark.parametrize("separator", ["\n", ", ", "; ", "\r\n"])
    def test_keeps_a_typed_list(self, separator: str, world: World, client: Client) -> None:
        hubs = world.hubs(2)

        response = client.post(
            NEW, {"name": "Flats", "source": "list", "listed": listed(*hubs).replace("\n", separator)}
        )

        group = HubGroup.objects.get()
        assert response.headers["Location"] == f"/groups/{group.pk}/"
        assert members() == {hub.chf_id for hub in hubs}
        assert "“Flats” is kept, with 2 hubs." in words(client.get(response.headers["Location"]))

    def test_returns_refused_rows_of_a_file_in_its_own_form(self, world: World, client: Client) -> None:
        [own] = world.hubs(1)
        [foreign] = world.hubs(1, supplier=world.southern)
        content = f"Site;CHF ID\nYork;{listed(own)}\nHull;{listed(foreign)}\nLeeds\n"
        file = SimpleUploadedFile("sites.csv", content.encode())

        response = client.post(NEW, {"name": "Flats", "source": "list", "file": file}, follow=True)
        download = client.get(f"{response.redirect_chain[-1][0]}refused/")

        assert "sites.csv, uploaded" in words(response)
        assert "Not one of your hubs" in words(response)
        lines = b"".join(download.streaming_content).decode("utf-8-sig").splitlines()  # type: ignore[attr-defined]
        assert lines[0] == "Site;CHF ID;Reason;Way forward"
        assert [line.split(";")[:3] for line in lines[1:]] == [
            ["Hull", listed(foreign), "Not one of your hubs"],
            ["Leeds", "", "No identifier in this row"],
        ]

    def test_keeps_what_a_filter_shows(self, world: World, client: Client) -> None:
        prepaid = world.hubs(2, payment_mode=PaymentMode.PREPAYMENT)
        world.hubs(2)
        count_fleet(now=world.clock())

        page = words(client.get("/hubs/", {"payment_mode": 2}))
        client.post(NEW, {"name": "Prepaid", "source": "filter", "payment_mode": 2})

        assert f'href="{NEW}?payment_mode=2&amp;source=filter"' in page
        assert members() == {hub.chf_id for hub in prepaid}

    def test_begins_with_the_filter_that_led_here(self, world: World, client: Client) -> None:
        form = client.get(NEW, {"payment_mode": "2", "source": "filter"}).context["form"]

        assert (form["payment_mode"].value(), form["source"].value()) == ("2", "filter")

    @pytest.mark.parametrize(
        ("said", "answer"),
        [
            ({"source": "list"}, "Give the hubs here or in a file."),
            ({"source": "filter"}, "Choose at least one value to filter by."),
            ({"source": "list", "listed": "what"}, "None of the rows names a hub of yours"),
            ({"source": "list", "listed": "x", "name": ""}, "This field is required."),
            ({"source": "list", "listed": "x", "name": "x" * 81}, "at most 80 characters"),
        ],
    )
    def test_says_what_is_wrong(
        self, said: dict[str, Any], answer: str, world: World, client: Client
    ) -> None:
        response = client.post(NEW, {"name": "Flats"} | said)

        assert answer in words(response)
        assert not HubGroup.objects.exists()

    def test_takes_one_list_and_not_two(self, world: World, client: Client) -> None:
        file = SimpleUploadedFile("hubs.csv", b"x")

        response = client.post(NEW, {"name": "Flats", "source": "list", "listed": "x", "file": file})

        assert "in the field or in a file, not both" in words(response)

    def test_refuses_a_file_that_is_too_large(
        self, world: World, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(forms, "GROUP_FILE_LIMIT", 1024 * 1024)
        file = SimpleUploadedFile("hubs.csv", b"x" * 1_200_000)

        response = client.post(NEW, {"name": "Flats", "source": "list", "file": file})

        assert "The file has 1 MB; the limit is 1 MB." in words(response)


class TestGroup:
    def test_pages_through_its_hubs(
        self, world: World, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pages, "PAGE", 2)
        hubs = sorted(world.hubs(3), key=lambda hub: hub.chf_id)
        group = make(world, *hubs)

        first = client.get(f"/groups/{group.pk}/")
        second = client.get(first.context["next"])
        back = client.get(second.context["previous"])

        shown = [[row.record.chf_id for row in page.context["table"].rows] for page in (first, second, back)]
        ids = [hub.chf_id for hub in hubs]
        assert shown == [ids[:2], ids[2:], ids[:2]]
        assert (first.context["previous"], second.context["next"]) == ("", "")

    @pytest.mark.parametrize("key", ["x", "9" * 30])
    def test_ignores_a_key_that_is_none(self, key: str, world: World, client: Client) -> None:
        group = make(world, *world.hubs(1))

        assert client.get(f"/groups/{group.pk}/", {"after": key}).context["listing"].has_lines

    def test_does_not_show_a_hub_that_went_to_another_supplier(self, world: World, client: Client) -> None:
        gone, kept = world.hubs(2)
        group = make(world, gone, kept)
        CommunicationsHub.objects.filter(pk=gone.pk).update(import_supplier=world.southern)

        page = words(client.get(f"/groups/{group.pk}/"))

        assert format_eui64(kept.chf_id) in page
        assert format_eui64(gone.chf_id) not in page

    def test_names_the_windows_on_it(self, world: World, client: Client) -> None:
        group = make(world, *world.hubs(1))
        window = world.protect(
            weekdays=1,
            starts="01:00",
            ends="02:00",
            scope=ProtectedWindow.Scope.GROUP,
            group=group,
            reason="Lift works",
        )

        page = words(client.get(f"/groups/{group.pk}/"))

        assert "Lift works" in page
        assert reverse("scheduling:edit-window", args=[window.pk]) in page


class TestMembers:
    def test_adds_and_takes_out(self, world: World, client: Client) -> None:
        first, second = world.hubs(2)
        group = make(world, first)
        address = f"/groups/{group.pk}/hubs/"

        added = client.post(address, {"act": "add", "listed": listed(first, second)}, follow=True)
        taken = client.post(address, {"act": "take_out", "listed": listed(first)}, follow=True)

        assert "1 hub was added to “Flats”. 1 hub was in it already." in words(added)
        assert "1 hub was taken out of “Flats”." in words(taken)
        assert members() == {second.chf_id}

    def test_says_of_foreign_hubs_just_what_it_says_of_unknown_ones(
        self, world: World, client: Client
    ) -> None:
        [own] = world.hubs(1)
        [foreign] = world.hubs(1, supplier=world.southern)
        group = make(world, own)
        answers = set()
        for other in (foreign.chf_id, 0x00DB000000000001):
            text = format_eui64(other)
            page = client.post(f"/groups/{group.pk}/hubs/", {"act": "add", "listed": text}, follow=True)
            answers.add(words(page).partition('class="cards')[2].replace(text, "").partition("</section>")[0])

        assert len(answers) == 1
        assert "Not one of your hubs" in answers.pop()

    @pytest.mark.parametrize(
        ("said", "answer"),
        [
            ({"act": "add"}, "Give the hubs here or in a file."),
            ({"listed": "x"}, "Choose what shall become of them."),
            ({"act": "add", "listed": " , "}, "holds no rows"),
        ],
    )
    def test_says_what_is_wrong(
        self, said: dict[str, Any], answer: str, world: World, client: Client
    ) -> None:
        group = make(world, *world.hubs(1))

        assert answer in words(client.post(f"/groups/{group.pk}/hubs/", said))


class TestRename:
    def test_renames(self, world: World, client: Client) -> None:
        group = make(world, *world.hubs(1))
        address = f"/groups/{group.pk}/rename/"

        assert 'value="Flats"' in words(client.get(address))
        client.post(address, {"name": "Towers"})

        assert HubGroup.objects.get().name == "Towers"

    def test_says_that_the_name_is_taken(self, world: World, client: Client) -> None:
        [hub] = world.hubs(1)
        make(world, hub, name="Towers")
        group = make(world, hub)

        response = client.post(f"/groups/{group.pk}/rename/", {"name": "towers"})

        assert response.status_code == 409
        assert "a group called “towers” already" in words(response)


class TestPilots:
    def test_volunteers_and_takes_it_back(self, world: World, client: Client) -> None:
        group = make(world, *world.hubs(2))
        address = f"/groups/{group.pk}/pilots/"

        assert "takes pilots before others" in words(client.get(address))
        said = words(client.post(address, {"is_pilot": "on"}, follow=True))
        assert "The hubs of “Flats” are now pilots." in said
        assert "These hubs are pilots." in said
        assert "> Pilots </td>" in words(client.get(LIST))

        client.post(address, {})
        assert not HubGroup.objects.get().is_pilot
        assert "> Pilots </td>" not in words(client.get(LIST))

    def test_says_that_the_group_is_gone(
        self, world: World, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        group = make(world, *world.hubs(1))

        def gone(**_: object) -> None:
            raise acts.UnableToGroup("The group was deleted meanwhile.")

        monkeypatch.setattr(acts, "volunteer", gone)
        response = client.post(f"/groups/{group.pk}/pilots/", {"is_pilot": "on"})

        assert response.status_code == 409
        assert "deleted meanwhile" in words(response)


class TestDelete:
    def test_deletes(self, world: World, client: Client) -> None:
        group = make(world, *world.hubs(2))

        assert "Its 2 hubs" in words(client.get(f"/groups/{group.pk}/delete/"))
        client.post(f"/groups/{group.pk}/delete/")

        assert not HubGroup.objects.exists()

    def test_is_refused_while_a_window_stands_on_it(self, world: World, client: Client) -> None:
        group = make(world, *world.hubs(2))
        world.protect(
            weekdays=1, starts="01:00", ends="02:00", scope=ProtectedWindow.Scope.GROUP, group=group
        )

        asked = client.get(f"/groups/{group.pk}/delete/")
        refused = client.post(f"/groups/{group.pk}/delete/")

        assert "Delete the group" not in words(asked)
        assert refused.status_code == 409
        assert "A protected window stands on “Flats”." in words(refused)
        assert HubGroup.objects.exists()


class TestBooking:
    def test_chooses_the_hubs_of_a_group_and_of_other_facets(self, world: World, client: Client) -> None:
        prepaid = world.hubs(2, payment_mode=PaymentMode.PREPAYMENT)
        credit = world.hubs(1)
        world.hubs(2)
        count_fleet(now=world.clock())
        group = make(world, *prepaid, *credit)
        address = reverse("scheduling:book", args=[world.release.pk])

        assert "Flats" in words(client.get(address))
        client.post(address, {"method": "filter", "group": [group.pk], "payment_mode": ["2"]})

        selection = HubSelection.objects.get()
        assert selection.criteria == {"payment_mode": [2], "group": [group.pk]}
        assert selection.eligible == {str(world.network.pk): 2}

    def test_takes_another_suppliers_group_for_no_choice(self, world: World, client: Client) -> None:
        shared = world.hubs(2, gas_supplier=world.southern)
        count_fleet(now=world.clock())
        theirs, _ = acts.make(
            supplier=world.southern,
            name="Theirs",
            hubs=io.BytesIO(listed(*shared).encode()),
            by=world.person,
            now=world.clock(),
        )

        answers = {
            words(client.post(f"/releases/{world.release.pk}/book/", {"method": "filter", "group": [key]}))
            .partition("Nothing was chosen yet")[2]
            .partition("</ul>")[0]
            for key in (theirs.pk, 999_999)
        }

        assert len(answers) == 1
        assert "Choose from the values shown." in answers.pop()
        assert not HubSelection.objects.exists()


class TestUploads:
    def test_keep_the_newest(self, world: World, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(uploads, "KEPT", 2)
        group = make(world, *world.hubs(1))
        made = [
            client.post(f"/groups/{group.pk}/hubs/", {"act": "add", "listed": "what"}).headers["Location"]
            for _ in range(4)
        ]

        assert [client.get(address).status_code for address in made] == [404, 404, 200, 200]

    def test_lead_back_to_the_groups_once_theirs_is_gone(self, world: World, client: Client) -> None:
        group = make(world, *world.hubs(1))
        made = client.post(f"/groups/{group.pk}/hubs/", {"act": "add", "listed": "what"}).headers["Location"]
        acts.delete(group=group, by=world.person, now=world.clock())

        assert client.get(made).context["back"] == LIST

    def test_are_not_there_for_another_supplier(self, world: World, client: Client) -> None:
        group = make(world, *world.hubs(1))
        made = client.post(f"/groups/{group.pk}/hubs/", {"act": "add", "listed": "what"}).headers["Location"]
        client.force_login(
            User.objects.create_user(email="person@southern.example.com", supplier=world.southern)
        )

        assert [client.get(f"{made}{more}").status_code for more in ("", "refused/")] == [404, 404]
