"""Check that decisions and outcomes are as they were recorded, name the end of their chain, or purge its beginning."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from portal.ground import chain, clock, purges
from portal.ground.purges import UnableToPurge
from portal.ground.uk_time import LONDON
from portal.models import User
from scheduling.queries import seals
from scheduling.queries.purges import CARRIED, Purgeable, purgeable


class Command(BaseCommand):
    """Say what differs, each on a line; end with 1 if anything does."""

    help = (
        "Check that no decision was changed, deleted or put in since it was recorded (`audit verify`), and no outcome "
        "of a hub (`audit verify --outcomes`); name the end of the chain, to be kept elsewhere and given to a later "
        "check (`audit head`); or take away for good what is older than decisions are kept (`audit purge`)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take what is to be done, and a head of earlier."""
        acts = parser.add_subparsers(dest="act", required=True)
        verifying = acts.add_parser("verify", help="check the whole record")
        verifying.add_argument(
            "--head",
            help="A head that was kept, from the log, an evidence pack or `audit head`: the chain must still have it.",
        )
        verifying.add_argument(
            "--outcomes",
            action="store_true",
            help="Also hold what became of each hub against its seal in the record. Reads every deployment.",
        )
        acts.add_parser("head", help="name the end of the chain")
        purging = acts.add_parser(
            "purge",
            help=f"say which decisions are older than {settings.DECISIONS_KEPT_YEARS} years and may go; with --by, "
            "take them away for good",
        )
        purging.add_argument("--by", help="The e-mail address of the person of DCC who decided it.")
        purging.add_argument("--reason", help="Why; it goes on record.")

    def handle(self, **options: Any) -> None:
        """Do it."""
        if options["act"] == "head":
            self.stdout.write(str(chain.head()))
            return
        if options["act"] == "purge":
            self._purge(by=options["by"], reason=options["reason"])
            return
        try:
            kept = chain.parse(text=options["head"]) if options["head"] else None
        except ValueError as error:
            raise CommandError(str(error)) from None
        found = 0
        for finding in self._findings(kept=kept, with_outcomes=options["outcomes"]):
            found += 1
            self.stdout.write(f"DIFFERS: {finding}")
        if found:
            raise CommandError(
                f"The record is not what was recorded: {found:,} of its decisions, links or lots differ. Do not rely "
                "on it; compare with a backup from before."
            )
        also = ", and so do the outcomes" if options["outcomes"] else ""
        self.stdout.write(f"The record of decisions holds{also}: {chain.head()}")
        begins, purged = chain.base(), chain.last_purge()
        if begins.number and purged:
            self.stdout.write(_begins(begins, purged))
        if purges.is_unfinished():
            self.stdout.write("That purge has not come to its end: run audit purge once more.")
        if kept and 0 < kept.number < begins.number:
            raise CommandError(
                f"The head that was kept, of {kept.number:,} links, lies before the base: those decisions were purged, "
                f"and nothing can be held against it any more. Keep the base, {begins}, or a later head."
            )

    def _purge(self, *, by: str | None, reason: str | None) -> None:
        """Say what may go; where somebody decided it, put that on record and let it go."""
        person = None if by is None else _person(by)
        if person and not (reason or "").strip():
            raise CommandError("A purge goes on record: say why with --reason.")
        if purges.is_unfinished():
            self.stderr.write("A purge was cut off. Finishing that one.")
        else:
            before = _years_before(clock.now(), settings.DECISIONS_KEPT_YEARS)
            plan = purgeable(before=before)
            self.stdout.write(_may_go(plan, before))
            if not plan.decisions:
                return
            if person is None:
                self.stdout.write(
                    "Nothing was taken away. To do so, for good: audit purge --by ADDRESS --reason WHY"
                )
                return
            found = list(self._findings(kept=None, with_outcomes=False))
            if found:
                raise CommandError("The record does not hold, so nothing goes: run audit verify.")
            try:
                purges.decide(
                    number=plan.number, until=before, by=person, reason=reason or "", now=clock.now()
                )
            except UnableToPurge as refusal:
                raise CommandError(str(refusal)) from None
            except DatabaseError as error:
                raise _not_the_owner(error) from error
        try:
            gone = purges.proceed(
                carried=CARRIED,
                clock=clock.now,
                tell=lambda done, of: self._tell(done, of, "decisions", "purged"),
            )
        except UnableToPurge as refusal:
            raise CommandError(str(refusal)) from None
        except DatabaseError as error:
            raise _not_the_owner(error) from error
        self.stdout.write(f"Purged: {gone:,} decisions. The record begins after {chain.base()}")

    def _findings(self, *, kept: chain.Head | None, with_outcomes: bool) -> Iterator[str]:
        yield from chain.verify(kept=kept, tell=lambda done, of: self._tell(done, of, "links"))
        if with_outcomes:
            yield from seals.verify(tell=lambda done, of: self._tell(done, of, "lots"))

    def _tell(self, done: int, of: int, things: str, what: str = "looked at") -> None:
        self.stderr.write(f"{done:,} of {of:,} {things} {what}")


def _person(email: str) -> User:
    person = User.objects.filter(email=email.strip().lower(), is_staff=True, is_active=True).first()
    if person is None:
        raise CommandError(f"{email} is nobody of DCC who has access: name who decided that decisions go.")
    return person


def _not_the_owner(error: DatabaseError) -> CommandError:
    return CommandError(
        f"The database refused: {error}\nOnly the owner of the tables purges: set DATABASE_URL to the one with which "
        "you migrate. What has gone has gone, and the record holds."
    )


def _years_before(now: datetime, years: int) -> datetime:
    try:
        return now.replace(year=now.year - years)
    except ValueError:  # 29 February
        return now.replace(year=now.year - years, day=28)


def _may_go(plan: Purgeable, before: datetime) -> str:
    if not plan.decisions:
        why = f": {plan.kept_by} is kept by what it explains" if plan.kept_by else ""
        return f"No decision at the beginning of the record is of before {_day(before)} and may go{why}."
    why = (
        f" The next one stays, whatever its age: {plan.kept_by} goes on, or ended since."
        if plan.kept_by
        else ""
    )
    return (
        f"{plan.decisions:,} decisions of before {_day(before)} may go, numbers {plan.first:,} to {plan.number:,} of "
        f"the chain.{why}"
    )


def _begins(begins: chain.Head, purged: chain.Purge) -> str:
    return (
        f"It begins after {begins}: the {begins.number:,} decisions up to there were purged, the last of them on "
        f"{_day(purged.recorded_at)} by {purged.who}, all of before {_day(purged.until)}, as decision "
        f"{purged.decision} says."
    )


def _day(moment: datetime) -> str:
    return f"{moment.astimezone(LONDON):%-d %B %Y}"
