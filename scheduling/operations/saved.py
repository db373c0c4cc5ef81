"""Keep filters of lists under names, rename and delete them: everybody their own."""

from datetime import datetime
from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction

from hubs.models import Supplier
from scheduling.models import SavedFilter
from scheduling.queries import saved

if TYPE_CHECKING:
    from portal.models import User


class UnableToKeep(Exception):
    """The filter is not kept so; the message says why and what to do."""


@transaction.atomic
def keep(*, supplier: Supplier, name: str, of: str, query: str, by: "User", now: datetime) -> SavedFilter:
    """
    Keep what a list shows under a name; the name of an earlier one stands for the new one from now on.

    :raises UnableToKeep: if there is no name, or there are too many
    """
    name = _named(name)
    own = saved.of_person(supplier=supplier, person=by).filter(list=of)
    kept = own.filter(name=name).first()
    if kept is None and own.count() >= saved.MOST:
        raise UnableToKeep(
            f"You keep {saved.MOST} filters of this list, the most. Delete one that you need no more."
        )
    kept = kept or SavedFilter(supplier=supplier, person=by, list=of, name=name)
    kept.query, kept.made_at = query, now
    kept.save()
    return kept


def rename(*, kept: SavedFilter, name: str) -> None:
    """
    Give a filter another name.

    :raises UnableToKeep: if there is no name, or another filter of the list has it
    """
    kept.name = _named(name)
    try:
        with transaction.atomic():
            kept.save(update_fields=["name"])
    except IntegrityError as error:
        if "saved_filter_one_per_name" not in str(error):
            raise
        raise UnableToKeep(
            "Another of your filters of this list has that name. Choose a different one."
        ) from None


def delete(*, kept: SavedFilter) -> None:
    """Forget a filter; what it showed stays as it is."""
    kept.delete()


def _named(name: str) -> str:
    said = " ".join(name.replace("\0", "").split())
    most = SavedFilter._meta.get_field("name").max_length or 0
    if not said:
        raise UnableToKeep("Give the filter a name.")
    if len(said) > most:
        raise UnableToKeep(f"The name has {len(said)} characters: at most {most}.")
    return said
