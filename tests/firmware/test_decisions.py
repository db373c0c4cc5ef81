"""Deciding about releases: who may, when, and what is refused."""

import threading
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission
from django.db import IntegrityError, connection, transaction

from firmware import locks, queries
from firmware.models import (
    MOVES,
    FirmwareRelease,
    Halt,
    IllegalMove,
    Part,
    ReleaseState,
    SignedAct,
    SignOff,
)
from firmware.operations import decisions, releases
from hubs.models import HubModel, Network
from portal.ground import sql
from portal.ground.models import AuditEntry
from portal.ground.uk_time import Span
from portal.models import User
from tests.conftest import eventually
from tests.factories import (
    FirmwareReleaseFactory,
    FirmwareVersionFactory,
    FleetCountFactory,
    HaltFactory,
    HubModelFactory,
    NetworkFactory,
    SignOffFactory,
    UserFactory,
)

Build = Callable[..., releases.Particulars]
HOUR = timedelta(hours=1)
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def draft(particulars: Build, content: bytes, author: User, now: datetime) -> FirmwareRelease:
    return releases.upload(particulars=particulars(), content=BytesIO(content), author=author, now=now)


@pytest.fixture
def submitted(draft: FirmwareRelease, manager: User, now: datetime) -> FirmwareRelease:
    return decisions.submit(release=draft, by=manager, now=now)


@pytest.fixture
def signed(submitted: FirmwareRelease, approver: User, now: datetime) -> FirmwareRelease:
    sign(submitted, approver, now)
    return submitted


@pytest.fixture
def published(signed: FirmwareRelease, author: User, now: datetime) -> FirmwareRelease:
    return decisions.publish(release=signed, by=author, now=now)


@pytest.fixture
def halted(published: FirmwareRelease, author: User, now: datetime) -> FirmwareRelease:
    decisions.halt(release=published, by=author, reason="Too many silent hubs.", now=now + HOUR)
    published.refresh_from_db()
    return published


def sign(
    release: FirmwareRelease,
    by: User,
    now: datetime,
    act: SignedAct = SignedAct.PUBLISH,
    halt: Halt | None = None,
    leaves_out: Collection[Part] = (),
) -> SignOff:
    return decisions.sign_off(
        release=release,
        act=act,
        revision=release.revision,
        digest=release.digest,
        by=by,
        now=now,
        halt=halt,
        leaves_out=leaves_out,
    )


def last_entry() -> tuple[str, str, User | None, str]:
    entry = AuditEntry.objects.order_by("-pk")[0]
    return entry.verb, entry.subject, entry.actor, entry.reason


@pytest.mark.django_db
class TestSubmit:
    def test_hands_a_draft_over(self, draft: FirmwareRelease, manager: User, now: datetime) -> None:
        release = decisions.submit(release=draft, by=manager, now=now)

        assert (release.state, release.submitter, release.submitted_at) == ("submitted", manager, now)
        assert last_entry() == ("release.submitted", f"release:{draft.pk}", manager, "")

    @pytest.mark.parametrize(
        ("typed", "sentence"),
        [({"predecessors": []}, "at least one predecessor"), ({"periods": []}, "availability period")],
    )
    def test_names_what_is_missing(
        self,
        typed: dict[str, object],
        sentence: str,
        particulars: Build,
        content: bytes,
        author: User,
        now: datetime,
    ) -> None:
        release = releases.upload(
            particulars=particulars(**typed), content=BytesIO(content), author=author, now=now
        )

        with pytest.raises(decisions.UnableToSubmit, match=sentence):
            decisions.submit(release=release, by=author, now=now)

    def test_refuses_twice_and_without_the_permission(
        self, submitted: FirmwareRelease, manager: User, auditor: User, now: datetime
    ) -> None:
        for by, sentence in ((manager, "this release is submitted"), (auditor, "release manager")):
            with pytest.raises(decisions.UnableToSubmit, match=sentence):
                decisions.submit(release=submitted, by=by, now=now)


@pytest.mark.django_db
class TestSignOff:
    def test_records_who_agreed_to_which_revision_and_hash(
        self, submitted: FirmwareRelease, approver: User, now: datetime
    ) -> None:
        signed = sign(submitted, approver, now)

        assert (signed.revision, signed.digest, signed.signed_by) == (1, submitted.digest, approver)
        assert last_entry()[:3] == ("release.signed_off", f"release:{submitted.pk}", approver)

    @pytest.mark.parametrize("who", ["author", "manager"])
    def test_refuses_author_and_submitter_even_with_the_permission(
        self, who: str, submitted: FirmwareRelease, author: User, manager: User, approver: User, now: datetime
    ) -> None:
        by = {"author": author, "manager": manager}[who]
        by.user_permissions.add(*Permission.objects.filter(group__user=approver))

        with pytest.raises(decisions.UnableToSignOff, match="Ask somebody"):
            sign(submitted, User.objects.get(pk=by.pk), now)

        assert not SignOff.objects.exists()

    def test_has_the_database_refuse_author_and_submitter_too(
        self, author: User, approver: User, now: datetime
    ) -> None:
        # a release without a record of its making: only the CHECK stands in the way
        author.user_permissions.add(*Permission.objects.filter(group__user=approver))
        release = FirmwareReleaseFactory(submitted=True, author=author)

        with pytest.raises(decisions.UnableToSignOff, match="cannot sign off their own release"):
            sign(release, User.objects.get(pk=author.pk), now)

    def test_refuses_whoever_edited_an_earlier_revision(
        self,
        particulars: Build,
        draft: FirmwareRelease,
        author: User,
        manager: User,
        approver: User,
        now: datetime,
    ) -> None:
        manager.user_permissions.add(*Permission.objects.filter(group__user=approver))
        both = User.objects.get(pk=manager.pk)
        releases.change(
            release=draft, revision=1, particulars=particulars(notes="Theirs"), content=None, by=both, now=now
        )
        release = decisions.submit(release=draft, by=author, now=now)

        with pytest.raises(decisions.UnableToSignOff, match="changed or submitted"):
            sign(release, both, now)

    def test_refuses_what_was_changed_since_it_was_read(
        self, particulars: Build, submitted: FirmwareRelease, author: User, approver: User, now: datetime
    ) -> None:
        seen = FirmwareRelease.objects.get(pk=submitted.pk)
        releases.change(
            release=submitted,
            revision=1,
            particulars=particulars(notes="New"),
            content=None,
            by=author,
            now=now,
        )
        decisions.submit(release=submitted, by=author, now=now)

        with pytest.raises(decisions.UnableToSignOff, match="changed since"):
            sign(seen, approver, now)

    def test_refuses_a_draft_a_second_time_and_without_the_permission(
        self, draft: FirmwareRelease, author: User, manager: User, approver: User, now: datetime
    ) -> None:
        with pytest.raises(decisions.UnableToSignOff, match="nothing to sign off"):
            sign(draft, approver, now)
        release = decisions.submit(release=draft, by=author, now=now)
        with pytest.raises(decisions.UnableToSignOff, match="Only a DCC approver"):
            sign(release, manager, now)
        sign(release, approver, now)
        with pytest.raises(decisions.UnableToSignOff, match="already"):
            sign(release, approver, now)


@pytest.mark.django_db
class TestPublish:
    def test_opens_a_signed_release_and_records_its_reach(
        self, signed: FirmwareRelease, author: User, now: datetime, model: HubModel, north: Network
    ) -> None:
        predecessor = signed.predecessors.get().version
        for hubs in (30, 12):
            FleetCountFactory(model=model, network=north, installed_version=predecessor, hubs=hubs)

        release = decisions.publish(release=signed, by=author, now=now)

        assert (release.state, release.published_at) == ("published", now)
        facts = AuditEntry.objects.get(verb="release.published").facts
        assert (facts["suppliers"], facts["hubs"]) == (2, 42)

    def test_needs_a_sign_off(self, submitted: FirmwareRelease, author: User, now: datetime) -> None:
        with pytest.raises(decisions.UnableToPublish, match="sign this revision off first"):
            decisions.publish(release=submitted, by=author, now=now)

    def test_needs_a_sign_off_that_was_not_voided(
        self, signed: FirmwareRelease, author: User, now: datetime
    ) -> None:
        SignOff.objects.update(voided_at=now)

        with pytest.raises(decisions.UnableToPublish, match="sign this revision off first"):
            decisions.publish(release=signed, by=author, now=now)

    def test_needs_the_permission(self, signed: FirmwareRelease, approver: User, now: datetime) -> None:
        with pytest.raises(decisions.UnableToPublish, match="Only a DCC release manager"):
            decisions.publish(release=signed, by=approver, now=now)

    def test_refuses_when_the_stored_file_was_swapped(
        self, signed: FirmwareRelease, author: User, now: datetime, media_root: Path
    ) -> None:
        (media_root / str(signed.image.name)).write_bytes(b"other bytes")

        with pytest.raises(decisions.UnableToPublish, match="was changed on disk"):
            decisions.publish(release=signed, by=author, now=now)

        signed.refresh_from_db()
        assert signed.state == ReleaseState.SUBMITTED

    def test_waits_for_the_notice_to_the_moment(self, signed: FirmwareRelease, author: User) -> None:
        opens = signed.periods.get().start_at
        latest = Span(20, "working days").before(opens)

        with pytest.raises(decisions.UnableToPublish, match="20 working days"):
            decisions.publish(release=signed, by=author, now=latest + timedelta(seconds=1))
        assert decisions.publish(release=signed, by=author, now=latest).state == ReleaseState.PUBLISHED

    @pytest.mark.parametrize(("days", "is_enough"), [(41, False), (42, True)])
    def test_wants_the_minimum_period(
        self, days: int, is_enough: bool, signed: FirmwareRelease, author: User, now: datetime
    ) -> None:
        start = datetime(2026, 12, 1, tzinfo=UTC)
        signed.periods.update(start_at=start, end_at=start + timedelta(days=days))

        if is_enough:
            assert decisions.publish(release=signed, by=author, now=now).state == ReleaseState.PUBLISHED
        else:
            with pytest.raises(decisions.UnableToPublish, match="at least 42 days"):
                decisions.publish(release=signed, by=author, now=now)

    @pytest.mark.parametrize("part", ["periods", "predecessors", "hub_models"])
    def test_asks_again_for_every_part(
        self, part: str, signed: FirmwareRelease, author: User, now: datetime
    ) -> None:
        if part == "hub_models":
            signed.hub_models.clear()
        else:
            getattr(signed, part).all().delete()

        with pytest.raises(decisions.UnableToPublish):
            decisions.publish(release=signed, by=author, now=now)


@pytest.mark.django_db
class TestHalt:
    def test_stops_a_published_release(
        self, published: FirmwareRelease, approver: User, now: datetime
    ) -> None:
        halt = decisions.halt(release=published, by=approver, reason="Silent hubs.", now=now)

        published.refresh_from_db()
        assert published.state == ReleaseState.HALTED
        assert (halt.halted_by, halt.reason, halt.lifted_at) == (approver, "Silent hubs.", None)
        assert last_entry() == ("release.halted", f"release:{published.pk}", approver, "Silent hubs.")

    def test_may_come_from_the_portal_itself_and_twice(
        self, published: FirmwareRelease, approver: User, now: datetime
    ) -> None:
        first = decisions.halt(release=published, by=None, reason="Evidence.", now=now)
        second = decisions.halt(release=published, by=approver, reason="Again.", now=now + HOUR)

        assert first == second
        assert AuditEntry.objects.filter(verb="release.halted").count() == 1

    def test_keeps_the_reason_of_each_who_halts_it_again_and_asks_for_another_sign_off(
        self, published: FirmwareRelease, author: User, approver: User, now: datetime
    ) -> None:
        decisions.halt(release=published, by=None, reason="Evidence.", now=now)
        sign(published, approver, now + HOUR, SignedAct.RESUME)
        for _ in range(2):  # pressed twice
            decisions.halt(release=published, by=author, reason="They burn.", now=now + 2 * HOUR)

        again = {"by": str(author), "reason": "They burn.", "at": (now + 2 * HOUR).isoformat()}
        assert Halt.objects.get().facts["again"] == [again]
        assert last_entry() == ("release.halted_again", f"release:{published.pk}", author, "They burn.")
        with pytest.raises(decisions.UnableToResume, match="sign off the resumption"):
            decisions.resume(release=published, by=author, reason="Mended.", now=now + 3 * HOUR)

    def test_takes_nothing_back_when_the_portal_halts_it_again(
        self, published: FirmwareRelease, author: User, approver: User, now: datetime
    ) -> None:
        decisions.halt(release=published, by=author, reason="Odd.", now=now)
        sign(published, approver, now + HOUR, SignedAct.RESUME)
        decisions.halt(release=published, by=None, reason="Evidence.", now=now + 2 * HOUR)
        decisions.resume(release=published, by=author, reason="Mended.", now=now + 3 * HOUR)
        assert published.state == ReleaseState.PUBLISHED

    def test_needs_a_reason_the_permission_and_a_published_release(
        self,
        published: FirmwareRelease,
        submitted: FirmwareRelease,
        author: User,
        auditor: User,
        now: datetime,
    ) -> None:
        with pytest.raises(decisions.UnableToHalt, match="why"):
            decisions.halt(release=published, by=author, reason=" ", now=now)
        with pytest.raises(decisions.UnableToHalt, match="right to halt"):
            decisions.halt(release=published, by=auditor, reason="Because", now=now)
        with pytest.raises(decisions.UnableToHalt, match="Only a published"):
            decisions.halt(release=FirmwareReleaseFactory(), by=author, reason="Because", now=now)


def parts_of(release: FirmwareRelease) -> tuple[Part, Part, Part]:
    """Return the first network, hub model and installed version of a release, each as a part of it."""
    parts = queries.parts(release=release)
    return (
        next(part for part in parts if part.network),
        next(part for part in parts if part.model),
        next(part for part in parts if part.installed_version),
    )


@pytest.mark.django_db
class TestHaltOfAPart:
    def test_leaves_the_release_published(
        self, published: FirmwareRelease, approver: User, now: datetime
    ) -> None:
        for part in parts_of(published):
            halt = decisions.halt(release=published, by=approver, reason="Odd.", now=now, part=part)
            assert (halt.part, halt.is_whole, halt.halted_by) == (part, False, approver)
            assert last_entry() == ("release.part_halted", f"release:{published.pk}", approver, "Odd.")
            assert AuditEntry.objects.order_by("-pk")[0].facts["part"] == str(part)
        published.refresh_from_db()
        assert published.state == ReleaseState.PUBLISHED
        assert queries.standing_halt(release=published) is None
        assert [halt.part for halt in queries.halted_parts(release=published)] == [*parts_of(published)]

    def test_stands_once_with_the_reasons_of_all_who_halt_it(
        self, published: FirmwareRelease, author: User, approver: User, now: datetime
    ) -> None:
        part = parts_of(published)[1]
        first = decisions.halt(release=published, by=None, reason="Odd.", now=now, part=part)
        sign(published, approver, now + HOUR, SignedAct.RESUME, halt=first)
        second = decisions.halt(
            release=published, by=author, reason="They burn.", now=now + 2 * HOUR, part=part
        )
        assert first == second == Halt.objects.get()
        assert [one["reason"] for one in Halt.objects.get().facts["again"]] == ["They burn."]
        assert AuditEntry.objects.filter(verb="release.part_halted").count() == 1
        assert last_entry() == ("release.halted_again", f"release:{published.pk}", author, "They burn.")
        assert AuditEntry.objects.order_by("-pk")[0].facts["part"] == str(part)
        with pytest.raises(decisions.UnableToResume, match="sign off the resumption"):
            decisions.resume(release=published, by=author, reason="Calm.", now=now + 3 * HOUR, halt=first)

    def test_is_not_lifted_once_the_release_was_withdrawn(
        self, published: FirmwareRelease, author: User, approver: User, now: datetime
    ) -> None:
        halt = decisions.halt(release=published, by=None, reason="Odd.", now=now, part=parts_of(published)[0])
        sign(published, approver, now + HOUR, SignedAct.RESUME, halt=halt)
        decisions.withdraw(release=published, by=author, reason="Bad.", now=now + HOUR)
        with pytest.raises(decisions.UnableToSignOff, match="the release is withdrawn"):
            sign(published, approver, now + 2 * HOUR, SignedAct.RESUME, halt=halt)
        with pytest.raises(decisions.UnableToResume, match=r"the release is withdrawn\.$"):
            decisions.resume(release=published, by=author, reason="Mended.", now=now + 3 * HOUR, halt=halt)

    def test_stands_beside_a_halt_of_the_whole_release(
        self, halted: FirmwareRelease, approver: User, now: datetime
    ) -> None:
        part = parts_of(halted)[0]
        decisions.halt(release=halted, by=approver, reason="And this.", now=now + HOUR, part=part)
        assert queries.standing_halt(release=halted) is not None
        assert [halt.part for halt in queries.halted_parts(release=halted)] == [part]

    def test_refuses_what_is_no_part_and_what_is_not_published(
        self, published: FirmwareRelease, submitted: FirmwareRelease, author: User, now: datetime
    ) -> None:
        strange = Part(model=HubModelFactory.create())
        with pytest.raises(decisions.UnableToHalt, match="not for hub model"):
            decisions.halt(release=published, by=author, reason="Odd.", now=now, part=strange)
        draft = FirmwareReleaseFactory()
        with pytest.raises(decisions.UnableToHalt, match="Only a part of a published release"):
            decisions.halt(release=draft, by=author, reason="Odd.", now=now, part=strange)
        assert not Halt.objects.exists()

    def test_is_lifted_by_two_people_like_any_other(
        self, published: FirmwareRelease, author: User, approver: User, now: datetime
    ) -> None:
        network, model, _ = parts_of(published)
        one = decisions.halt(release=published, by=author, reason="Odd.", now=now, part=network)
        other = decisions.halt(release=published, by=author, reason="Odd.", now=now, part=model)
        with pytest.raises(decisions.UnableToResume, match="sign off the resumption"):
            decisions.resume(release=published, by=author, reason="Mended.", now=now + HOUR, halt=one)
        signed = sign(published, approver, now + HOUR, SignedAct.RESUME, halt=one)
        assert signed.halt == one
        with pytest.raises(decisions.UnableToResume, match="sign off the resumption"):
            decisions.resume(release=published, by=author, reason="Mended.", now=now + HOUR, halt=other)
        decisions.resume(release=published, by=author, reason="Mended.", now=now + HOUR, halt=one)
        assert [halt.part for halt in queries.halted_parts(release=published)] == [model]
        assert last_entry() == ("release.part_resumed", f"release:{published.pk}", author, "Mended.")
        with pytest.raises(decisions.UnableToResume, match="halted no longer"):
            decisions.resume(release=published, by=author, reason="Mended.", now=now + HOUR, halt=one)
        with pytest.raises(decisions.UnableToSignOff, match="resumed since"):
            sign(published, approver, now + HOUR, SignedAct.RESUME, halt=one)


@pytest.mark.django_db
class TestResumeWithoutAPart:
    def test_halts_in_the_same_moment_what_was_left_out(
        self, halted: FirmwareRelease, author: User, approver: User, now: datetime
    ) -> None:
        halted.hub_models.add(other := HubModelFactory.create())
        signed = sign(halted, approver, now + 2 * HOUR, SignedAct.RESUME, leaves_out=[Part(model=other)])
        assert queries.left_out(signed=signed) == [Part(model=other)]
        release = decisions.resume(release=halted, by=author, reason="Mended.", now=now + 3 * HOUR)
        assert release.state == ReleaseState.PUBLISHED
        [halt] = queries.halted_parts(release=release)
        assert (halt.part, halt.halted_at, halt.halted_by) == (Part(model=other), now + 3 * HOUR, author)

    def test_voids_what_was_agreed_of_those_parts_before(
        self, halted: FirmwareRelease, author: User, approver: User, now: datetime
    ) -> None:
        """Of two parts that were halted with it, one is left out, and of the other nothing is said."""
        halted.hub_models.add(other := HubModelFactory.create())
        left, beside = Part(model=other), parts_of(halted)[0]
        halts = [
            decisions.halt(release=halted, by=author, reason="Worst.", now=now + HOUR, part=part)
            for part in (left, beside)
        ]
        for halt in halts:
            sign(halted, approver, now + 2 * HOUR, SignedAct.RESUME, halt=halt)
        sign(halted, approver, now + 3 * HOUR, SignedAct.RESUME, leaves_out=[left])
        decisions.resume(release=halted, by=author, reason="Without it.", now=now + 4 * HOUR)

        with pytest.raises(decisions.UnableToResume, match="sign off the resumption"):
            decisions.resume(release=halted, by=author, reason="It, too.", now=now + 5 * HOUR, halt=halts[0])
        decisions.resume(release=halted, by=author, reason="This.", now=now + 5 * HOUR, halt=halts[1])
        assert [halt.part for halt in queries.halted_parts(release=halted)] == [left]

    def test_takes_nothing_but_the_parts_of_the_release(
        self, halted: FirmwareRelease, approver: User, now: datetime
    ) -> None:
        with pytest.raises(decisions.UnableToSignOff, match="not for hub model"):
            sign(halted, approver, now, SignedAct.RESUME, leaves_out=[Part(model=HubModelFactory.create())])

    def test_refuses_to_leave_out_everything(
        self, halted: FirmwareRelease, approver: User, now: datetime
    ) -> None:
        with pytest.raises(decisions.UnableToSignOff, match="nothing would go on"):
            sign(halted, approver, now, SignedAct.RESUME, leaves_out=queries.parts(release=halted))
        assert not SignOff.objects.filter(act=SignedAct.RESUME).exists()


@pytest.mark.django_db
class TestResume:
    def test_lifts_the_halt_once_another_person_agreed(
        self, halted: FirmwareRelease, author: User, approver: User, now: datetime
    ) -> None:
        sign(halted, approver, now + 2 * HOUR, SignedAct.RESUME)

        release = decisions.resume(release=halted, by=author, reason="Mended.", now=now + 3 * HOUR)

        halt = Halt.objects.get()
        assert release.state == ReleaseState.PUBLISHED
        assert (halt.lifted_by, halt.lifted_at, halt.lifted_reason) == (author, now + 3 * HOUR, "Mended.")
        assert last_entry() == ("release.resumed", f"release:{halted.pk}", author, "Mended.")

    def test_needs_a_sign_off_of_this_halt(
        self, halted: FirmwareRelease, author: User, approver: User, now: datetime
    ) -> None:
        with pytest.raises(decisions.UnableToResume, match="sign off the resumption"):
            decisions.resume(release=halted, by=author, reason="Mended.", now=now + 2 * HOUR)

        sign(halted, approver, now + 2 * HOUR, SignedAct.RESUME)
        decisions.resume(release=halted, by=author, reason="Mended.", now=now + 3 * HOUR)
        decisions.halt(release=halted, by=author, reason="Again.", now=now + 4 * HOUR)

        with pytest.raises(decisions.UnableToResume, match="sign off the resumption"):
            decisions.resume(release=halted, by=author, reason="Mended.", now=now + 5 * HOUR)

    def test_refuses_who_signed_it_off_and_who_gives_no_reason(
        self, halted: FirmwareRelease, author: User, approver: User, manager: User, now: datetime
    ) -> None:
        approver.user_permissions.add(*Permission.objects.filter(group__user=manager))
        both = User.objects.get(pk=approver.pk)
        sign(halted, both, now + 2 * HOUR, SignedAct.RESUME)

        with pytest.raises(decisions.UnableToResume, match="Ask somebody else"):
            decisions.resume(release=halted, by=both, reason="Mended.", now=now + 3 * HOUR)
        with pytest.raises(decisions.UnableToResume, match="why"):
            decisions.resume(release=halted, by=author, reason="", now=now + 3 * HOUR)

    def test_refuses_a_swapped_file(
        self, halted: FirmwareRelease, author: User, approver: User, now: datetime, media_root: Path
    ) -> None:
        sign(halted, approver, now + 2 * HOUR, SignedAct.RESUME)
        (media_root / str(halted.image.name)).write_bytes(b"other bytes")

        with pytest.raises(decisions.UnableToResume, match="was changed on disk"):
            decisions.resume(release=halted, by=author, reason="Mended.", now=now + 3 * HOUR)


@pytest.mark.django_db
class TestWithdraw:
    @pytest.mark.parametrize("state", ["draft", "submitted", "signed", "published", "halted"])
    def test_ends_a_release_from_every_state(
        self, state: str, request: pytest.FixtureRequest, author: User, now: datetime
    ) -> None:
        release = request.getfixturevalue(state)

        ended = decisions.withdraw(release=release, by=author, reason="Superseded.", now=now + 5 * HOUR)

        assert (ended.state, ended.ended_at) == ("withdrawn", now + 5 * HOUR)
        assert not SignOff.objects.filter(voided_at=None).exists()
        with pytest.raises(decisions.UnableToWithdraw, match="withdrawn already"):
            decisions.withdraw(release=release, by=author, reason="Twice.", now=now + 6 * HOUR)

    def test_needs_a_reason_and_the_permission(
        self, published: FirmwareRelease, author: User, approver: User, now: datetime
    ) -> None:
        with pytest.raises(decisions.UnableToWithdraw, match="why"):
            decisions.withdraw(release=published, by=author, reason="", now=now)
        with pytest.raises(decisions.UnableToWithdraw, match="Only a DCC release manager"):
            decisions.withdraw(release=published, by=approver, reason="Because", now=now)


@pytest.mark.django_db
class TestClose:
    def test_ends_a_release_from_the_end_of_its_last_period(
        self, published: FirmwareRelease, author: User
    ) -> None:
        end = published.periods.get().end_at

        with pytest.raises(decisions.UnableToClose, match="1 February 2027"):
            decisions.close(release=published, by=author, now=end - timedelta(seconds=1))
        assert decisions.close(release=published, by=author, now=end).ended_at == end

    def test_refuses_a_draft_and_whoever_may_not(
        self, draft: FirmwareRelease, author: User, approver: User, now: datetime
    ) -> None:
        with pytest.raises(decisions.UnableToClose, match="this one is draft"):
            decisions.close(release=draft, by=author, now=now)
        with pytest.raises(decisions.UnableToClose, match="Only a DCC release manager"):
            decisions.close(release=draft, by=approver, now=now)


class Race:
    """Acts that begin at the same moment, each on a connection of its own."""

    def __init__(self, *acts: Callable[[], object]) -> None:
        self.barrier = threading.Barrier(len(acts))
        self.ends: list[object] = [None] * len(acts)
        threads = [threading.Thread(target=self._run, args=(place, act)) for place, act in enumerate(acts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

    def _run(self, place: int, act: Callable[[], object]) -> None:
        try:
            connection.ensure_connection()
            self.barrier.wait(10)
            self.ends[place] = act()
        except Exception as error:  # the test looks at it
            self.ends[place] = error
        finally:
            connection.close()


def waiting() -> bool:
    """Say whether somebody waits for a lock that another one holds."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        found: bool = cursor.fetchone()[0]
    return found


@pytest.mark.django_db(transaction=True)
class TestRaces:
    @pytest.mark.parametrize("attempt", range(4))
    def test_let_an_edit_and_a_sign_off_happen_only_one_after_the_other(
        self,
        attempt: int,
        particulars: Build,
        submitted: FirmwareRelease,
        author: User,
        approver: User,
        now: datetime,
    ) -> None:
        Race(
            lambda: releases.change(
                release=submitted,
                revision=1,
                particulars=particulars(notes="Slipped in"),
                content=None,
                by=author,
                now=now,
            ),
            lambda: sign(submitted, approver, now),
        )

        submitted.refresh_from_db()
        assert (submitted.state, submitted.revision) == ("draft", 2)
        assert queries.standing_sign_off(release=submitted, act=SignedAct.PUBLISH) is None

    @pytest.mark.parametrize("attempt", range(4))
    def test_never_publish_what_an_edit_slipped_into(
        self,
        attempt: int,
        particulars: Build,
        signed: FirmwareRelease,
        author: User,
        manager: User,
        now: datetime,
    ) -> None:
        race = Race(
            lambda: releases.change(
                release=signed,
                revision=1,
                particulars=particulars(notes="Slipped in"),
                content=None,
                by=author,
                now=now,
            ),
            lambda: decisions.publish(release=signed, by=manager, now=now),
        )

        signed.refresh_from_db()
        outcome = (signed.state, signed.notes)
        assert outcome in {("published", "Mends the clock."), ("draft", "Slipped in")}
        refused = [end for end in race.ends if isinstance(end, Exception)]
        assert [type(end) for end in refused] in ([releases.UnableToChange], [decisions.UnableToPublish])

    def test_would_publish_an_edit_if_the_row_were_not_locked(
        self, signed: FirmwareRelease, manager: User, now: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Show that the lock is what holds: without it, a decision made on an old reading goes through."""
        read, edited = threading.Event(), threading.Event()

        def unlocked(release: FirmwareRelease) -> FirmwareRelease:
            found = FirmwareRelease.objects.select_related("version").get(pk=release.pk)
            read.set()
            edited.wait(10)
            return found

        monkeypatch.setattr(decisions, "_lock", unlocked)

        def edit() -> None:
            read.wait(10)
            # what an edit and a new submission by somebody else leave behind
            row = FirmwareRelease.objects.filter(pk=signed.pk)
            row.update(state="draft", submitter=None, submitted_at=None)
            row.update(notes="Slipped in", revision=2)
            row.update(state="submitted", submitter=manager, submitted_at=now)
            edited.set()

        race = Race(edit, lambda: decisions.publish(release=signed, by=manager, now=now))

        signed.refresh_from_db()
        assert (race.ends[0], signed.state, signed.notes) == (None, "published", "Slipped in")

    def test_let_no_decision_be_made_on_what_an_edit_is_changing(
        self, signed: FirmwareRelease, manager: User, now: datetime
    ) -> None:
        ends: list[object] = []

        def publish() -> None:
            try:
                ends.append(decisions.publish(release=signed, by=manager, now=now))
            except Exception as error:  # the test looks at it
                ends.append(error)
            finally:
                connection.close()

        deciding = threading.Thread(target=publish)
        with transaction.atomic():  # an edit, and a new submission by somebody else
            row = FirmwareRelease.objects.filter(pk=signed.pk)
            row.update(state="draft", submitter=None, submitted_at=None)
            row.update(notes="Slipped in", revision=2)
            row.update(state="submitted", submitter=manager, submitted_at=now)
            deciding.start()
            assert eventually(waiting)
        deciding.join(60)

        [end] = ends
        assert isinstance(end, decisions.UnableToPublish)
        signed.refresh_from_db()
        assert (signed.state, signed.revision) == ("submitted", 2)

    def test_make_a_halt_wait_for_what_the_gate_is_admitting_and_the_gate_for_a_halt(
        self, published: FirmwareRelease, author: User, now: datetime
    ) -> None:
        admitting, may_commit = threading.Event(), threading.Event()
        order: list[str] = []

        def gate() -> None:
            with transaction.atomic():
                sql.run(locks.ADMIT_SHARED, {"release": published.pk})
                admitting.set()
                may_commit.wait(10)
                order.append("admitted")

        def halt() -> None:
            admitting.wait(10)
            threading.Timer(0.3, may_commit.set).start()
            decisions.halt(release=published, by=author, reason="Now.", now=now)
            order.append("halted")

        Race(gate, halt)

        assert order == ["admitted", "halted"]
        with transaction.atomic():
            sql.run(locks.ADMIT_SHARED, {"release": published.pk})
            assert FirmwareRelease.objects.get(pk=published.pk).state == ReleaseState.HALTED

    def test_halt_once_however_many_halt_at_once(
        self, published: FirmwareRelease, author: User, now: datetime
    ) -> None:
        race = Race(
            *(lambda: decisions.halt(release=published, by=author, reason="Now.", now=now) for _ in range(6))
        )

        assert race.ends == [Halt.objects.get()] * 6


@pytest.mark.django_db
class TestConstraints:
    """Each is broken past Python, by update() or by a bare row."""

    @pytest.fixture(autouse=True)
    def savepoint(self) -> Iterator[None]:
        with transaction.atomic():
            yield
            transaction.set_rollback(True)

    @pytest.mark.parametrize(
        ("change", "constraint"),
        [
            ({"digest": "A" * 64}, "release_digest_is_sha256"),
            ({"digest": "ab"}, "release_digest_is_sha256"),
            ({"minimum_hardware": 9, "maximum_hardware": 8}, "release_hardware_range_in_order"),
            ({"maximum_hardware": 0x10000}, "release_hardware_range_in_order"),
            ({"urgency": "urgent"}, "release_urgency_has_reason"),
            (
                {"state": "withdrawn", "ended_at": MOMENT, "submitted_at": MOMENT},
                "release_submitted_at_with_submitter",
            ),
            ({"state": "submitted"}, "release_state_has_its_stamps"),
            ({"state": "published"}, "release_state_has_its_stamps"),
            ({"state": "withdrawn"}, "release_ended_at_when_ended"),
            ({"ended_at": MOMENT}, "release_ended_at_when_ended"),
            ({"notes": "Other"}, "release_change_has_revision"),
            ({"revision": 0}, "release_revision_grows"),
        ],
    )
    def test_hold_for_a_draft(self, change: dict[str, object], constraint: str) -> None:
        FirmwareReleaseFactory()

        with pytest.raises(IntegrityError) as refusal:
            FirmwareRelease.objects.update(**change)

        assert refusal.value.__cause__.diag.constraint_name == constraint  # type: ignore[union-attr]

    def test_let_a_halt_be_of_one_part_at_most(self) -> None:
        network, model = NetworkFactory.create(), HubModelFactory.create()
        version = FirmwareVersionFactory.create()
        for parts in (
            {"network": network, "model": model},
            {"network": network, "installed_version": version},
            {"model": model, "installed_version": version},
        ):
            with pytest.raises(IntegrityError, match="halt_of_one_part_at_most"), transaction.atomic():
                HaltFactory(**parts)

    def test_leave_one_standing_halt_of_a_part(self) -> None:
        halt = HaltFactory(network=NetworkFactory.create())
        HaltFactory(release=halt.release, network=NetworkFactory.create())
        with pytest.raises(IntegrityError, match="halt_one_standing_per_part"):
            HaltFactory(release=halt.release, network=halt.network)

    @pytest.mark.parametrize("act", SignedAct)
    def test_let_a_sign_off_name_a_halt_where_it_is_of_a_resumption(self, act: SignedAct) -> None:
        halt = HaltFactory()
        names = None if act == SignedAct.RESUME else halt
        with pytest.raises(IntegrityError, match="sign_off_of_a_resumption_names_the_halt"):
            SignOffFactory(release=halt.release, act=act, halt=names)

    def test_leave_one_standing_halt_of_a_release(self) -> None:
        halt = HaltFactory()

        with pytest.raises(IntegrityError, match="halt_one_standing_per_part"):
            HaltFactory(release=halt.release)

    @pytest.mark.parametrize(
        "change", [{"digest": "ab" * 32}, {"image": "images/other"}, {"notes": "Other"}, {"size": 3}]
    )
    def test_freeze_what_was_submitted(self, change: dict[str, object]) -> None:
        FirmwareReleaseFactory(submitted=True)

        with pytest.raises(IntegrityError, match="what it says is frozen"):
            FirmwareRelease.objects.update(revision=2, **change)

    def test_keep_a_sign_off_from_author_and_submitter(self) -> None:
        release = FirmwareReleaseFactory(submitted=True, submitter=UserFactory())

        for person in (release.author, release.submitter):
            with pytest.raises(IntegrityError, match="sign_off_by_another_person"), transaction.atomic():
                SignOffFactory(release=release, signed_by=person)

    @pytest.mark.parametrize("field", ["author", "submitter", "revision", "digest"])
    def test_keep_a_sign_off_from_naming_anything_but_the_release_as_it_is(self, field: str) -> None:
        wrong = {"author": UserFactory(), "submitter": UserFactory(), "revision": 2, "digest": "0" * 64}

        with pytest.raises(IntegrityError, match="does not name the people, revision and digest"):
            SignOffFactory(**{field: wrong[field]})

    def test_let_a_sign_off_only_be_voided_once(self, now: datetime) -> None:
        signed = SignOffFactory()

        for change in ({"revision": 2}, {"signed_by": UserFactory()}, {"voided_at": None}):
            with pytest.raises(IntegrityError, match="can only be voided, once"), transaction.atomic():
                SignOff.objects.filter(pk=signed.pk).update(**change)
        assert SignOff.objects.filter(pk=signed.pk).update(voided_at=now) == 1
        with pytest.raises(IntegrityError, match="can only be voided, once"):
            SignOff.objects.filter(pk=signed.pk).update(voided_at=now + HOUR)

    def test_leave_one_standing_sign_off_per_act(self) -> None:
        signed = SignOffFactory()

        with pytest.raises(IntegrityError, match="sign_off_one_standing_per_act"):
            SignOffFactory(release=signed.release)


@pytest.mark.django_db
class TestMoves:
    """The trigger's table of moves, against the one in the models."""

    STAMPS = {
        ReleaseState.DRAFT: {"submitter": None, "submitted_at": None, "published_at": None, "ended_at": None},
        ReleaseState.SUBMITTED: {"published_at": None, "ended_at": None},
        ReleaseState.PUBLISHED: {"published_at": datetime(2026, 1, 2, tzinfo=UTC), "ended_at": None},
        ReleaseState.HALTED: {"published_at": datetime(2026, 1, 2, tzinfo=UTC), "ended_at": None},
        ReleaseState.WITHDRAWN: {"ended_at": datetime(2026, 1, 3, tzinfo=UTC)},
        ReleaseState.CLOSED: {"ended_at": datetime(2026, 1, 3, tzinfo=UTC)},
    }

    @pytest.mark.parametrize("source", ReleaseState)
    @pytest.mark.parametrize("target", ReleaseState)
    def test_are_the_only_ones_that_the_database_lets_through(
        self, source: ReleaseState, target: ReleaseState, now: datetime
    ) -> None:
        release = FirmwareReleaseFactory(submitted=True, **{"state": source} | self._stamps(source))
        stamps = self._stamps(target)
        is_legal = target == source or target in MOVES[source]
        row = FirmwareRelease.objects.filter(pk=release.pk)

        if is_legal:
            assert row.update(state=target, **stamps) == 1
        else:
            with pytest.raises(IntegrityError, match=f"cannot move from {source} to {target}"):
                row.update(state=target, **stamps)

    def _stamps(self, state: ReleaseState) -> dict[str, object]:
        person = UserFactory()
        return {"submitter": person, "submitted_at": datetime(2026, 1, 1, tzinfo=UTC)} | self.STAMPS[state]

    def test_are_refused_by_python_first(self) -> None:
        with pytest.raises(IllegalMove):
            FirmwareRelease.objects.move(ReleaseState.CLOSED, ReleaseState.PUBLISHED)
