"""Remember whether somebody wants to be shown the first steps."""

from typing import TYPE_CHECKING

from scheduling.models import FirstSteps

if TYPE_CHECKING:
    from portal.models import User


def show(*, person: "User", is_shown: bool) -> None:
    """Call the first steps back for a person, or put them away, until they say otherwise."""
    FirstSteps.objects.update_or_create(person=person, defaults={"is_shown": is_shown})
