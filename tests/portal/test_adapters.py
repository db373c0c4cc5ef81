"""Tests of what the portal wants otherwise than allauth."""

import re

import pytest
from django.test import Client

from portal.models import User
from tests.factories import PASSWORD
from tests.portal.letters import delivered

NEW = "wide green lamp over water"


@pytest.mark.django_db(transaction=True)
class TestPasswordReset:
    def test_leads_by_a_link_of_our_own_to_a_new_password(self, client: Client, northern: User) -> None:
        client.post("/accounts/password/reset/", {"email": northern.email}, headers={"host": "localhost"})
        [message] = delivered()
        found = re.search(r"http://127\.0\.0\.1:8000(/accounts/password/reset/key/\S+)", message.body)
        assert found
        form = client.get(found[1], follow=True)
        address = form.redirect_chain[-1][0]

        changed = client.post(address, {"password1": NEW, "password2": NEW}, follow=True)

        assert "Your password is changed" in changed.content.decode()
        assert client.login(email=northern.email, password=NEW)
        assert "This link no longer works" in client.get(found[1], follow=True).content.decode()

    def test_answers_alike_but_writes_to_nobody_unknown(self, client: Client, northern: User) -> None:
        answers = [
            client.post("/accounts/password/reset/", {"email": email}).headers["Location"]
            for email in ("nobody@northern.example", northern.email)
        ]

        assert answers[0] == answers[1]
        assert [message.to for message in delivered()] == [[northern.email]]

    def test_is_refused_to_the_deactivated(self, client: Client, northern: User) -> None:
        User.objects.filter(pk=northern.pk).update(is_active=False)

        client.post("/accounts/password/reset/", {"email": northern.email})

        assert delivered() == []


@pytest.mark.django_db(transaction=True)
class TestPasswordChange:
    def test_signs_out_and_tells_the_person(self, client: Client, northern: User) -> None:
        client.force_login(northern)

        response = client.post(
            "/accounts/password/change/", {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW}
        )

        assert response.headers["Location"] == "/"
        assert "_auth_user_id" not in client.session
        [message] = delivered()
        assert message.subject == "Your password was changed"
        assert "tell DCC at once" in message.body

    def test_needs_fifteen_characters(self, client: Client, northern: User) -> None:
        client.force_login(northern)

        response = client.post(
            "/accounts/password/change/",
            {"oldpassword": PASSWORD, "password1": "wide green", "password2": "wide green"},
        )

        assert "at least 15 characters" in response.content.decode()


class TestReauthentication:
    def test_takes_the_persons_password(self, client: Client, northern: User) -> None:
        client.force_login(northern)

        wrong = client.post("/accounts/reauthenticate/", {"password": "wrong but long enough"})
        right = client.post("/accounts/reauthenticate/", {"password": PASSWORD, "next": "/"})

        assert "Incorrect password" in wrong.content.decode()
        assert right.headers["Location"] == "/"
