"""
E-mails: owe them, send them.

A notice is a row, written in the transaction of what it tells, once for each subject and address. The sender
claims one, sends it, and stamps it; one that fails is tried again later, for as long as it takes. Should the
sender die between the mail server's yes and the stamp, the e-mail goes out twice under the same Message-ID.

One module owes the e-mails about one noun; `owing` has what they share, and `sending` sends them all.
"""

from scheduling.operations.notices.allocations import owe_allocated
from scheduling.operations.notices.bookings import (
    owe_booking_done,
    owe_booking_moved,
    owe_missed,
    owe_reminders,
)
from scheduling.operations.notices.consents import owe_consent_asked, owe_consent_lapsed, owe_objected
from scheduling.operations.notices.owing import (
    address_of,
    of_release,
    owe,
    owe_words,
    people_of,
    shown,
)
from scheduling.operations.notices.proposals import owe_proposal_answered, owe_proposed
from scheduling.operations.notices.registrations import owe_carried_over
from scheduling.operations.notices.releases import owe_deadlines, owe_published, owe_stops
from scheduling.operations.notices.sending import NOT_KEPT, Words, calendar_of, render, send

__all__ = [
    "NOT_KEPT",
    "Words",
    "address_of",
    "calendar_of",
    "of_release",
    "owe",
    "owe_allocated",
    "owe_booking_done",
    "owe_booking_moved",
    "owe_carried_over",
    "owe_consent_asked",
    "owe_consent_lapsed",
    "owe_deadlines",
    "owe_missed",
    "owe_objected",
    "owe_proposal_answered",
    "owe_proposed",
    "owe_published",
    "owe_reminders",
    "owe_stops",
    "owe_words",
    "people_of",
    "render",
    "send",
    "shown",
]
