"""Tests of how DCC manages people."""

from django.contrib.auth.models import Group
from django.test import Client

from portal.ground.models import AuditEntry
from portal.models import Invitation, User
from tests.factories import UserFactory

ADD = "/admin/portal/invitation/add/"


class TestInvitationAdmin:
    def test_invites(self, client: Client, staff: User, northern: User) -> None:
        client.force_login(staff)

        response = client.post(ADD, {"email": "noor@northern.example", "supplier": northern.supplier_id})

        assert response.headers["Location"] == "/admin/portal/invitation/"
        invitation = Invitation.objects.get()
        assert (invitation.email, invitation.invited_by) == ("noor@northern.example", staff)
        assert AuditEntry.objects.filter(verb="invitation.made").count() == 1

    def test_says_beside_the_field_what_is_refused(self, client: Client, staff: User, northern: User) -> None:
        group = Group.objects.create(name="Approvers")
        client.force_login(staff)

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
        client.force_login(staff)
        client.post(ADD, {"email": "noor@northern.example", "supplier": northern.supplier_id})
        earlier = Invitation.objects.get()

        client.post("/admin/portal/invitation/", {"action": "invite_again", "_selected_action": [earlier.pk]})

        later = Invitation.objects.get()
        assert later.token_digest != earlier.token_digest
        assert later.supplier == northern.supplier

    def test_withdraws(self, client: Client, staff: User) -> None:
        client.force_login(staff)
        client.post(ADD, {"email": "noor@dcc.example"})

        client.post(
            "/admin/portal/invitation/",
            {"action": "withdraw", "_selected_action": [Invitation.objects.get().pk]},
        )

        assert not Invitation.objects.exists()

    def test_offers_no_editing(self, client: Client, staff: User) -> None:
        client.force_login(staff)
        client.post(ADD, {"email": "noor@dcc.example"})
        address = f"/admin/portal/invitation/{Invitation.objects.get().pk}/change/"

        client.post(address, {"email": "other@dcc.example"})

        assert Invitation.objects.get().email == "noor@dcc.example"


class TestUserAdmin:
    def test_shows_no_password_and_no_adding(self, client: Client, staff: User, northern: User) -> None:
        client.force_login(staff)

        page = client.get(f"/admin/portal/user/{northern.pk}/change/").content.decode()

        assert "password" not in page.partition("<main")[2].lower()
        assert client.get("/admin/portal/user/add/").status_code == 403
        assert client.get(f"/admin/portal/user/{northern.pk}/delete/").status_code == 403

    def test_records_what_was_changed(self, client: Client, staff: User, northern: User) -> None:
        client.force_login(staff)

        client.post(
            f"/admin/portal/user/{northern.pk}/change/",
            {"first_name": "May", "last_name": northern.last_name, "email": "other@northern.example"},
        )

        northern.refresh_from_db()
        assert (northern.first_name, northern.email) == ("May", "ops@northern.example")
        assert AuditEntry.objects.get(verb="user.changed").facts == {"first_name": "May"}

    def test_lets_nobody_add_to_their_own_powers(self, client: Client, staff: User) -> None:
        group = Group.objects.create(name="Approvers")
        client.force_login(staff)

        client.post(
            f"/admin/portal/user/{staff.pk}/change/",
            {"first_name": "Ada", "last_name": "Fielding", "groups": [group.pk], "is_superuser": "on"},
        )

        staff.refresh_from_db()
        assert staff.first_name == "Ada"
        assert not staff.groups.exists()

    def test_ends_access_of_others_only(self, client: Client, staff: User, northern: User) -> None:
        client.force_login(staff)

        client.post(
            "/admin/portal/user/",
            {"action": "deactivate", "_selected_action": [staff.pk, northern.pk]},
        )

        assert User.objects.filter(is_active=True).get() == staff

    def test_sends_a_link_instead_of_setting_a_password(
        self, client: Client, staff: User, northern: User
    ) -> None:
        client.force_login(staff)

        response = client.post(
            "/admin/portal/user/",
            {"action": "send_password_reset", "_selected_action": [northern.pk]},
            follow=True,
        )

        assert f"goes to {northern.email}" in response.content.decode()
        assert AuditEntry.objects.get(verb="user.reset_sent").subject == f"user:{northern.pk}"
