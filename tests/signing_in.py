"""What tests need of a signing in that they do not go through themselves."""

import time

from django.test import Client

from portal.models import User


def known_recently(*, client: Client, person: User, ago: float = 0) -> None:
    """Let somebody be signed in, and have shown so many seconds ago that it is still them."""
    client.force_login(person)
    session = client.session
    session["account_authentication_methods"] = [
        {"method": "password", "at": time.time() - ago, "email": person.email, "reauthenticated": True}
    ]
    session["account_authentication_methods_user"] = str(person.pk)
    session.save()
