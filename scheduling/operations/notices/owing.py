"""What every owed e-mail shares: its row, whom it goes to, and how it speaks of times, pages and releases."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user_model
from django.urls import reverse

from firmware.models import FirmwareRelease
from hubs.models import Supplier
from portal.ground import uk_time
from scheduling.models import Notice


def owe(
    *,
    kind: Notice.Kind,
    subject_key: str,
    addresses: Iterable[str],
    context: Mapping[str, Any],
    now: datetime,
    supplier: Supplier | None = None,
) -> None:
    """
    Owe one e-mail to each address, in the caller's transaction; what is owed or sent already is left alone.

    `context` fills the templates of the kind, `emails/<kind>.*`, and holds counts and links, never data of
    hubs or households.
    """
    domain = urlsplit(settings.PORTAL_ADDRESS).hostname or "localhost"
    Notice.objects.bulk_create(
        [
            Notice(
                kind=kind,
                subject_key=subject_key,
                address=address,
                supplier=supplier,
                context=dict(context),
                owed_at=now,
                next_try_at=now,
                message_id=f"<{uuid.uuid4()}@{domain}>",
            )
            for address in addresses
        ],
        ignore_conflicts=True,
    )


def owe_words(
    *,
    kind: Notice.Kind,
    address: str,
    subject: str,
    text: str,
    html: str,
    now: datetime,
    supplier: Supplier | None = None,
) -> None:
    """Owe an e-mail whose words are written already, such as a password reset."""
    owe(
        kind=kind,
        subject_key=f"{kind}:{uuid.uuid4()}",
        addresses=[address],
        context={"subject": subject, "text": text, "html": html},
        now=now,
        supplier=supplier,
    )


def people_of(*, supplier: Supplier) -> list[str]:
    """Return the addresses of a Supplier's people who can sign in."""
    people = get_user_model().objects.filter(supplier=supplier, is_active=True)
    return sorted(people.values_list("email", flat=True))


def of_release(*, release: FirmwareRelease) -> dict[str, str]:
    """Return what every e-mail about a release says of it: its names, its page, and whom to ask."""
    return {
        "release": release.name,
        "cpl_entry_id": release.cpl_entry_id,
        "release_url": address_of("scheduling:release", release.pk),
        "contact": release.contact,
    }


def shown(at: datetime) -> str:
    """Write an instant as people in the UK read it, with BST or GMT."""
    return f"{at.astimezone(uk_time.LONDON):%A %-d %B %Y, %H:%M %Z}"


def address_of(route: str, *arguments: object) -> str:
    """Return the address under which people find a page of the portal."""
    return settings.PORTAL_ADDRESS + reverse(route, args=arguments)
