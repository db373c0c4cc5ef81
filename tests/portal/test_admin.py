"""Tests of how DCC manages people."""

from django.contrib.auth.models import Group
from django.test import Client

from firmware.operations.groups import ensure_groups
from portal.ground.models import AuditEntry
from portal.ground.roles import DccRole
from portal.models import Invitation, User
from tests.factories import UserFactory
from tests.signing_in import known_recently

ADD = "/admin/portal/invitation/add/"


class TestInvitationAdmin:
    def test_invites(self, client: Client, staff: User, northern: User) -> None:
        known_recently(client=client, person=staff)

        response = client.post(
            ADD, {"email": "noor@northern.example", "supplier": northern.supplier_id, "role": "operations"}
        )

        assert response.headers["Location"] == "/admin/portal/invitation/"
        invitation = Invitation.objects.get()
        assert (invitation.email, invitation.invited_by) == ("noor@northern.example", staff)
        assert AuditEntry.objects.filter(verb="invitation.made").count() == 1

    def test_says_beside_the_field_what_is_refused(self, client: Client, staff: User, northern: User) -> None:
        group = Group.objects.create(name="Approvers")
        known_recently(client=client, person=staff)

        response = client.post(
            ADD, {"email": northern.email, "supplier": northern.supplier_id, "groups": [group.pk]}
        )

        page = response.content.decode()
        assert "has an account already" in page
        assert "choose a Supplier or groups" in page
        assert not Invitation.objects.exists()

    def test_is_closed_to_staff_without_the_permission(self, client: Client, staff: User) -> None:
        client.force_login(UserFactory.create())

        assert client.post(ADD, {"email": "noor@northern.example"}).status_code == 403
        assert not Invitation.objects.exists()

    def test_invites_again_with_a_new_link(self, client: Client, staff: User, northern: User) -> None:
        known_recently(client=client, person=staff)
        client.post(
            ADD, {"email": "noor@northern.example", "supplier": northern.supplier_id, "role": "operations"}
        )
        earlier = Invitation.objects.get()

        client.post("/admin/portal/invitation/", {"action": "invite_again", "_selected_action": [earlier.pk]})

        later = Invitation.objects.get()
        assert later.token_digest != earlier.token_digest
        assert later.supplier == northern.supplier

    def test_withdraws(self, client: Client, staff: User) -> None:
        known_recently(client=client, person=staff)
        client.post(ADD, {"email": "noor@dcc.example"})

        client.post(
            "/admin/portal/invitation/",
            {"action": "withdraw", "_selected_action": [Invitation.objects.get().pk]},
        )

        assert not Invitation.objects.exists()

    def test_offers_no_editing(self, client: Client, staff: User) -> None:
        known_recently(client=client, person=staff)
        client.post(ADD, {"email": "noor@dcc.example"})
        address = f"/admin/portal/invitation/{Invitation.objects.get().pk}/change/"

        client.post(address, {"email": "other@dcc.example"})

        assert Invitation.objects.get().email == "noor@dcc.example"


class TestUserAdmin:
    def test_shows_no_password_and_no_adding(self, client: Client, staff: User, northern: User) -> None:
        known_recently(client=client, person=staff)

        page = client.get(f"/admin/portal/user/{northern.pk}/change/").content.decode()

        assert "password" not in page.partition("<main")[2].lower()
        assert client.get("/admin/portal/user/add/").status_code == 403
        assert client.get(f"/admin/portal/user/{northern.pk}/delete/").status_code == 403

    def test_records_what_was_changed(self, client: Client, staff: User, northern: User) -> None:
        known_recently(client=client, person=staff)

        client.post(
            f"/admin/portal/user/{northern.pk}/change/",
            {
                "first_name": "May",
                "last_name": northern.last_name,
                "email": "other@northern.example",
                "role": "operations",
            },
        )

        northern.refresh_from_db()
        assert (northern.first_name, northern.email) == ("May", "ops@northern.example")
        assert AuditEntry.objects.get(verb="user.changed").facts == {"first_name": "May"}

    def test_lets_nobody_add_to_their_own_powers(self, client: Client, staff: User) -> None:
        group = Group.objects.create(name="Approvers")
        known_recently(client=client, person=staff)

        client.post(
            f"/admin/portal/user/{staff.pk}/change/",
            {"first_name": "Ada", "last_name": "Fielding", "groups": [group.pk], "is_superuser": "on"},
        )

        staff.refresh_from_db()
        assert staff.first_name == "Ada"
        assert not staff.groups.exists()

    def test_changes_the_role_of_a_suppliers_person(
        self, client: Client, staff: User, northern: User
    ) -> None:
        known_recently(client=client, person=staff)
        typed = {"first_name": northern.first_name, "last_name": northern.last_name, "role": "read-only"}

        client.post(f"/admin/portal/user/{northern.pk}/change/", typed)

        northern.refresh_from_db()
        assert northern.role == "read-only"
        assert AuditEntry.objects.get().verb == "user.role_changed"

    def test_changes_the_groups_of_dcc_staff_but_to_none_that_nobody_has_together(
        self, client: Client, staff: User
    ) -> None:
        ensure_groups()
        manager, person = UserFactory.create(), UserFactory.create()
        manager.groups.add(Group.objects.get(name=DccRole.ADMINISTRATOR))
        author, approver = (Group.objects.get(name=role).pk for role in (DccRole.AUTHOR, DccRole.APPROVER))
        names = {"first_name": "Ada", "last_name": person.last_name}
        address = f"/admin/portal/user/{person.pk}/change/"
        known_recently(client=client, person=manager)

        page = client.post(address, {**names, "groups": [author, approver]}, follow=True).content.decode()
        assert "are for two people" in page
        person.refresh_from_db()
        assert person.first_name != "Ada"
        assert not person.groups.exists()

        client.post(address, {**names, "groups": [approver]})
        person.refresh_from_db()
        assert person.first_name == "Ada"
        assert [group.name for group in person.groups.all()] == [DccRole.APPROVER]
        assert not person.is_superuser

    def test_ends_access_of_others_only(self, client: Client, staff: User, northern: User) -> None:
        known_recently(client=client, person=staff)

        client.post(
            "/admin/portal/user/",
            {"action": "deactivate", "_selected_action": [staff.pk, northern.pk]},
        )

        assert User.objects.filter(is_active=True).get() == staff

    def test_sends_a_link_instead_of_setting_a_password(
        self, client: Client, staff: User, northern: User
    ) -> None:
        known_recently(client=client, person=staff)

        response = client.post(
            "/admin/portal/user/",
            {"action": "send_password_reset", "_selected_action": [northern.pk]},
            follow=True,
        )

        assert f"goes to {northern.email}" in response.content.decode()
        assert AuditEntry.objects.get(verb="user.reset_sent").subject == f"user:{northern.pk}"
