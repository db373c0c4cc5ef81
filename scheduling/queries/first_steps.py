"""How far somebody who is new has come, by what really happened."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portal.ground import sql

if TYPE_CHECKING:
    from portal.models import User

DONE: Final = """
SELECT (SELECT is_shown FROM scheduling_firststeps WHERE person_id = %(person)s),
       EXISTS (SELECT FROM scheduling_hubselection WHERE chosen_by_id = %(person)s),
       EXISTS (SELECT FROM scheduling_booking WHERE booked_by_id = %(person)s),
       EXISTS (SELECT FROM scheduling_successtally WHERE supplier_id = %(supplier)s AND succeeded > 0),
       EXISTS (SELECT FROM scheduling_protectedwindow WHERE supplier_id = %(supplier)s)
"""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a person did, what happened to their Supplier's hubs, and whether they want to be shown the steps."""

    wish: bool | None
    """Whether they called the steps back, or put them away; None where they said neither."""
    has_chosen: bool
    has_booked: bool
    has_followed: bool
    """A hub of the Supplier's has succeeded, whoever booked it."""
    has_protected: bool

    @property
    def is_shown(self) -> bool:
        """Say whether the steps are shown: by themselves until the person has booked."""
        return not self.has_booked if self.wish is None else self.wish


def progress(*, person: "User") -> Progress:
    """Return how far a Supplier's person is, in one question."""
    [row] = sql.rows(DONE, {"person": person.pk, "supplier": person.supplier_id})
    return Progress(*row)
