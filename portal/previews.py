"""Every e-mail of the portal with made-up figures, written by what writes the real ones."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.template.loader import render_to_string

from portal import notices
from scheduling.models import Notice
from scheduling.operations.notices import Words, render

ROOT: Final = settings.PORTAL_ADDRESS
RELEASE: Final = {
    "release": "Hub firmware 4.2",
    "cpl_entry_id": "CPL-2026-410",
    "release_url": f"{ROOT}/releases/410/",
    "contact": "Release desk, release.desk@example.com",
    "supplier": "Northern Lights Energy",
    "cut_off": "2 working days",
}
BOOKING: Final = {**RELEASE, "reference": "BK-7F3K-92QD", "booking_url": f"{ROOT}/bookings/BK-7F3K-92QD/"}
FIRST: Final = "Monday 4 May 2026, 02:00 BST"
LAST: Final = "Thursday 14 May 2026, 04:00 BST"
SOON: Final = "Thursday 30 April 2026, 17:00 BST"
SLOTS: Final = [
    {
        "network": network,
        "start": f"2026-05-{day:02}T01:00:00+00:00",
        "end": f"2026-05-{day:02}T03:00:00+00:00",
        "shown": f"{day} May 2026, 02:00 BST",
        "hubs": hubs,
    }
    for day, network, hubs in ((4, "Central", 48_000), (4, "North", 312), (5, "Central", 47_951))
]
MANY: Final = [{**SLOTS[0], "shown": f"{day} May 2026, 02:00 BST"} for day in range(1, 31)]
PROPOSAL: Final = {
    **BOOKING,
    "act": "cancel",
    "hubs": 412_884,
    "slot_count": 21,
    "first": FIRST,
    "who": "Dipa Rowan",
    "proposal_url": f"{ROOT}/proposals/7/",
}
RULE: Final = {
    "act": "change the rule",
    "supplier": "Northern Lights Energy",
    "who": "Dipa Rowan",
    "hubs": 0,
    "slot_count": 0,
    "first": "",
    "reference": "",
    "proposal_url": f"{ROOT}/proposals/8/",
}
HALT: Final = {
    **RELEASE,
    "halted": FIRST,
    "reason": "Hubs of the model Brunel C4 fall silent after activation: 9 of 500, beyond the limit.",
    "part": "",
    "hubs": 398_201,
    "activating": 1,
    "resumed": LAST,
    "resumed_reason": "The carrier had been out of order; the hubs answered afterwards.",
}

KINDS: Final[Mapping[str, tuple[Notice.Kind, Mapping[str, Any]]]] = {
    "published": (
        Notice.Kind.PUBLISHED,
        {
            **RELEASE,
            "hubs": 412_884,
            "opens": FIRST,
            "periods": [
                {"network": network, "opens": FIRST, "closes": LAST} for network in ("Central", "North", "4G")
            ],
        },
    ),
    "deadline": (
        Notice.Kind.DEADLINE,
        {
            **RELEASE,
            "hubs": 14_683,
            "until": SOON,
            "networks": [{**line, "shown": SOON} for line in SLOTS[:2]],
            "book_url": f"{ROOT}/releases/410/book/",
        },
    ),
    "first-reminder": (
        Notice.Kind.FIRST_REMINDER,
        {
            **RELEASE,
            "hubs": 96_263,
            "begins": FIRST,
            "slots": SLOTS,
            "bookings_url": f"{ROOT}/bookings/",
        },
    ),
    "last-reminder": (
        Notice.Kind.LAST_REMINDER,
        {
            **RELEASE,
            "hubs": 1_440_000,
            "begins": FIRST,
            "slots": MANY,
            "bookings_url": f"{ROOT}/bookings/",
        },
    ),
    "booking-moved": (
        Notice.Kind.BOOKING_MOVED,
        {
            **BOOKING,
            "hubs": 48_312,
            "handed_back": 12,
            "who": "DCC",
            "why": "maintenance on Central",
            "left": SLOTS[:2],
            "taken": SLOTS[2:],
        },
    ),
    "booking-handed-back": (
        Notice.Kind.BOOKING_MOVED,
        {
            **BOOKING,
            "hubs": 0,
            "handed_back": 1,
            "who": "The portal",
            "why": "",
            "left": SLOTS[1:2],
            "taken": [],
        },
    ),
    "missed": (
        Notice.Kind.MISSED,
        {
            **BOOKING,
            "day": "Monday 4 May 2026",
            "hubs": 311,
            "reasons": [["Could not be reached", 300], ["Network was paused", 11]],
            "state": "published",
            "can_book": True,
            "may_go": 311,
            "next": SLOTS,
            "more": True,
            "without": 4,
            "hubs_url": f"{ROOT}/bookings/BK-7F3K-92QD/hubs/?state=missed",
        },
    ),
    "booking-done": (
        Notice.Kind.BOOKING_DONE,
        {
            **BOOKING,
            "hubs": 412_884,
            "succeeded": 412_100,
            "outcomes": [["Succeeded", 412_100], ["Failed", 3], ["Missed", 781]],
        },
    ),
    "consent-asked": (
        Notice.Kind.CONSENT_ASKED,
        {
            **BOOKING,
            "hubs": 1_204,
            "asker": "electricity import Supplier (NLEN)",
            "answer_by": SOON,
            "is_explicit": True,
            "is_all_explicit": False,
            "consents_url": f"{ROOT}/consents/",
            "parts": SLOTS,
        },
    ),
    "consent-lapsed": (
        Notice.Kind.CONSENT_LAPSED,
        {
            **BOOKING,
            "hubs": 1_204,
            "other": "gas Supplier (MDGS)",
            "is_asked": False,
            "answer_by": SOON,
            "url": f"{ROOT}/bookings/BK-7F3K-92QD/",
            "parts": SLOTS,
        },
    ),
    "objected": (
        Notice.Kind.OBJECTED,
        {
            **BOOKING,
            "hubs": 312,
            "moved": 300,
            "handed_back": 12,
            "other": "gas Supplier (MDGS)",
            "slot": FIRST,
            "network": "North",
        },
    ),
    "proposed": (Notice.Kind.PROPOSED, {**PROPOSAL, "until": SOON}),
    "proposed-rule": (Notice.Kind.PROPOSED, {**RULE, "until": SOON}),
    "proposal-agreed": (
        Notice.Kind.PROPOSAL_ANSWERED,
        {**PROPOSAL, "is_agreed": True, "by": "Sam Okoro", "answer": ""},
    ),
    "proposal-declined": (
        Notice.Kind.PROPOSAL_ANSWERED,
        {
            **PROPOSAL,
            "is_agreed": False,
            "by": "Sam Okoro",
            "answer": "Not in the week of the tariff change.",
        },
    ),
    "carried-over": (Notice.Kind.CARRIED_OVER, {**BOOKING, "hubs": 1, "begins": FIRST}),
    "allocated": (
        Notice.Kind.ALLOCATED,
        {**BOOKING, "hubs": 14_683, "unplaced": 4, "first": FIRST, "last": LAST, "until": SOON, "reason": ""},
    ),
    "halted": (Notice.Kind.HALTED, HALT),
    "halted-in-part": (Notice.Kind.HALTED, {**HALT, "part": "hub model Brunel C4"}),
    "resumed": (Notice.Kind.RESUMED, HALT),
    "withdrawn": (
        Notice.Kind.WITHDRAWN,
        {**HALT, "withdrawn": LAST, "succeeded": 14_682, "bookings_url": f"{ROOT}/bookings/"},
    ),
    "excess": (
        Notice.Kind.EXCESS,
        {
            "findings": 3,
            "found": FIRST,
            "kinds": [{"words": "Reached a hub, and was never admitted", "commands": 3}],
            "halted": ["Hub firmware 4.2", "Dual-band hub firmware 2.7"],
            "url": f"{ROOT}/admin/scheduling/finding/?is_excess=1",
        },
    ),
}
ACCOUNT: Final = {
    "user": {"email": "dipa.rowan@northern-lights.example.com"},
    "password_reset_url": f"{ROOT}/accounts/password/reset/key/3-d2wk1c-7f3k92qd/",
    "timestamp": datetime(2026, 5, 4, 13, 2, tzinfo=UTC),
    "ip": "192.0.2.17",
    "user_agent": "Firefox 150 on Windows",
    "left": 3,
}
ACCOUNTS: Final = (
    *("account/email/password_changed", "account/email/password_reset", "account/email/password_reset_key"),
    *("account/email/password_set", "mfa/email/recovery_code_used", "mfa/email/recovery_codes_generated"),
    *("mfa/email/totp_activated", "mfa/email/totp_deactivated", "mfa/email/webauthn_added"),
    "mfa/email/webauthn_removed",
)
"""What allauth writes, by the beginning of its templates' names."""
TOLD: Final[Mapping[str, Mapping[str, str]]] = {
    "access_ended": {"reason": "Left the company."},
    "access_given_back": {"reason": "Is back."},
    "role_changed": {"role": "Operations", "reason": ""},
}


def _kind(name: str) -> Words:
    kind, context = KINDS[name]
    moment = datetime(2026, 4, 27, 8, 0, tzinfo=UTC)
    return render(notice=Notice(pk=410, kind=kind, context=dict(context), owed_at=moment))


def _account(stem: str) -> Words:
    return notices.account_words(
        subject=render_to_string(f"{stem}_subject.txt", ACCOUNT),
        text=render_to_string(f"{stem}_message.txt", ACCOUNT),
    )


def _invitation() -> Words:
    return notices.invitation_words(
        link=f"{ROOT}/invitation/7f3k92qd7f3k92qd7f3k92qd7f3k92qd7f3k92qd/",
        inviter="Asha Mistry",
        supplier="Northern Lights Energy",
        expires_at=datetime(2026, 5, 11, 13, 2, tzinfo=UTC),
    )


EMAILS: Final[Mapping[str, Callable[[], Words]]] = {
    **{name: partial(_kind, name) for name in KINDS},
    "invitation": _invitation,
    **{
        name.replace("_", "-"): partial(notices.told, template=name, of="DCC", said=said)
        for name, said in TOLD.items()
    },
    **{stem.rpartition("/")[2].replace("_", "-"): partial(_account, stem) for stem in ACCOUNTS},
    "second-factor-taken-away": partial(notices.second_factor_taken_away, by="Asha Mistry"),
}
"""What writes each, by its name in an address."""
