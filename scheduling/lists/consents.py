"""Lists of questions that were answered, and of the hubs of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from hubs.identifiers import format_eui64
from hubs.models import Supplier
from portal.ground import asking
from scheduling.forms import AnswerFilterForm
from scheduling.lists.base import Column, Order, RowList, Slice, SupplierList, integer, uk
from scheduling.models import Consent
from scheduling.queries import consents, keyset
from scheduling.queries.consents import AskedHub, Question
from scheduling.tables import AnsweredTable, AskedHubTable


@dataclass(frozen=True, slots=True)
class Answer:
    """One answered question in the list."""

    question: Question
    state: str
    by: str


class AnsweredList(RowList[Answer, Consent]):
    """What the Supplier was asked and is no longer."""

    name = "answers"
    title = "Answered questions"
    nouns = ("answered question", "answered questions")
    table = AnsweredTable
    filters = ("answer",)
    usual = Order("reference", is_descending=True)
    usual_words = "newest first"
    columns = {
        # questions are numbered as they are asked
        "reference": Column({"Booking": lambda line: line.question.consent.booking.reference}, sort="pk"),
        "release": Column(
            {"Release": lambda line: line.question.consent.booking.release.name}, is_extra=True
        ),
        "party": Column({"Asked by": lambda line: line.question.party}),
        "start_at": Column(
            {"Slot (UK time)": lambda line: uk(line.question.consent.slot.start_at)}, sort="slot__start_at"
        ),
        "network": Column(
            {"Network": lambda line: line.question.consent.slot.network.name}, sort="slot__network__name"
        ),
        "hubs": Column({"Hubs": lambda line: line.question.hubs}),
        "state": Column({"Answer": lambda line: line.state}),
        "answered_at": Column({"When (UK time)": lambda line: uk(line.question.consent.answered_at)}),
        "by": Column({"By": lambda line: line.by}),
    }

    def filter_form(self) -> AnswerFilterForm:
        """Return the form."""
        return AnswerFilterForm(self.asked)

    def rows(self) -> QuerySet[Consent]:
        """Return the questions that the filter leaves."""
        found = consents.answered(supplier=self.supplier)
        answer = self.filtered("answer")
        return found.filter(state=answer) if answer else found

    @asking.asked()
    def page(self, *, after: str, before: str, limit: int) -> Slice[Answer]:
        """Fetch a page: other Suppliers' bookings are seen as far as they ask."""
        return super().page(after=after, before=before, limit=limit)

    def lines(self, rows: Sequence[Consent]) -> list[Answer]:
        """Name who asked, and put each into words."""
        names = consents.asker_of(consents=rows)
        return [
            Answer(
                Question(row, row.hubs, names[row.pk]),  # type: ignore[attr-defined]  # annotated
                row.get_state_display(),
                str(row.answered_by or "the portal"),
            )
            for row in rows
        ]


class AskedHubList(SupplierList[AskedHub]):
    """The shared hubs that a question is about."""

    name = "consent-hubs"
    title = "Hubs of a question"
    nouns = ("hub", "hubs")
    table = AskedHubTable
    usual = Order("hub", is_descending=False)
    usual_words = "as they were placed"
    columns = {
        "hub": Column({"CHF ID": lambda line: format_eui64(line.hub)}),
        "state": Column({"State": lambda line: line.state.label}),
    }
    of: Consent

    @classmethod
    def find(cls, *, supplier: Supplier, key: str) -> Any:
        """Return the question."""
        with asking.asked():
            found = consents.visible().filter(supplier=supplier, pk=integer(key) or 0).first()
        if found is None:
            raise LookupError(key)
        return found

    def key(self) -> str:
        """Return the number of the question."""
        return str(self.of.pk)

    def heading(self) -> str:
        """Name the booking that asks."""
        return f"Hubs that {self.of.booking.reference} asks about"

    def page(self, *, after: str, before: str, limit: int) -> Slice[AskedHub]:
        """Fetch a page from the lots' stretches of the primary key."""

        def fetch(start: int | None, is_backwards: bool, most: int) -> list[AskedHub]:
            first = 2**63 - 1 if is_backwards else 0
            return consents.hubs(
                consent=self.of,
                start=first if start is None else start,
                limit=most,
                is_backwards=is_backwards,
            )

        found = keyset.stretch(
            fetch=fetch,
            key_of=lambda hub: hub.deployment,
            after=integer(after),
            before=integer(before),
            limit=limit,
        )
        return Slice(
            found.rows,
            None if found.after is None else str(found.after),
            None if found.before is None else str(found.before),
        )
