"""What belongs to a release is frozen with it, whoever writes; a published one may be given more time."""

from collections.abc import Callable
from datetime import timedelta
from importlib import import_module

import pytest
from django.db import IntegrityError, connection, transaction

from firmware.models import (
    AvailabilityPeriod,
    FirmwareRelease,
    Predecessor,
    ReleaseState,
    RolloutPolicy,
)
from tests.factories import (
    AvailabilityPeriodFactory,
    FirmwareReleaseFactory,
    FirmwareVersionFactory,
    HubModelFactory,
    NetworkFactory,
    PredecessorFactory,
    RolloutPolicyFactory,
)

FROZEN = ("submitted", "published", "halted", "withdrawn", "closed")


@pytest.fixture
def draft(db: None) -> FirmwareRelease:
    """A draft with a part of each kind, under the rules that hold outside of tests."""
    with connection.cursor() as cursor:
        cursor.execute(import_module("firmware.migrations.0005_frozen_parts").FUNCTION)
    release = FirmwareReleaseFactory.create()
    release.hub_models.add(HubModelFactory.create())
    PredecessorFactory.create(release=release)
    AvailabilityPeriodFactory.create(release=release)
    RolloutPolicyFactory.create(release=release)
    return release


def take_to(release: FirmwareRelease, state: str) -> None:
    """Take a draft to a state, by the moves that there are."""
    rows = FirmwareRelease.objects.filter(pk=release.pk)
    now = release.created_at
    if state == "withdrawn":
        rows.move(ReleaseState.DRAFT, ReleaseState.WITHDRAWN, ended_at=now)
        return
    rows.move(ReleaseState.DRAFT, ReleaseState.SUBMITTED, submitter=release.author, submitted_at=now)
    if state != "submitted":
        rows.move(ReleaseState.SUBMITTED, ReleaseState.PUBLISHED, published_at=now)
    if state == "halted":
        rows.move(ReleaseState.PUBLISHED, ReleaseState.HALTED)
    if state == "closed":
        rows.move(ReleaseState.PUBLISHED, ReleaseState.CLOSED, ended_at=now)


def later(release: FirmwareRelease, hours: int) -> object:
    """Let the period of a release end so much later."""
    end = release.periods.get().end_at + timedelta(hours=hours)
    return AvailabilityPeriod.objects.filter(release=release).update(end_at=end)


CHANGES: dict[str, Callable[[FirmwareRelease], object]] = {
    "add a model": lambda release: release.hub_models.add(HubModelFactory.create()),
    "take a model": lambda release: release.hub_models.clear(),
    "add a predecessor": lambda release: PredecessorFactory.create(release=release),
    "take a predecessor": lambda release: Predecessor.objects.filter(release=release).delete(),
    "change a predecessor": lambda release: Predecessor.objects.filter(release=release).update(
        version=FirmwareVersionFactory.create()
    ),
    "add a period": lambda release: AvailabilityPeriodFactory.create(
        release=release, network=NetworkFactory.create(code="south")
    ),
    "take a period": lambda release: AvailabilityPeriod.objects.filter(release=release).delete(),
    "move a period": lambda release: AvailabilityPeriod.objects.filter(release=release).update(
        network=NetworkFactory.create(code="south")
    ),
    "open it earlier": lambda release: AvailabilityPeriod.objects.filter(release=release).update(
        start_at=release.periods.get().start_at - timedelta(days=1)
    ),
    "end it earlier": lambda release: later(release, -1),
    "change the policy": lambda release: RolloutPolicy.objects.filter(release=release).update(
        in_flight_ceiling=20_000
    ),
    "take the policy": lambda release: RolloutPolicy.objects.filter(release=release).delete(),
}


class TestAFrozenRelease:
    @pytest.mark.parametrize("state", FROZEN)
    @pytest.mark.parametrize("change", CHANGES)
    def test_keeps_every_part_as_it_was_signed_off(
        self, draft: FirmwareRelease, state: str, change: str
    ) -> None:
        take_to(draft, state)
        with pytest.raises(IntegrityError, match=f"is {state}: its .* is frozen"), transaction.atomic():
            CHANGES[change](draft)

    @pytest.mark.parametrize("state", FROZEN)
    def test_takes_no_part_of_a_draft(self, draft: FirmwareRelease, state: str) -> None:
        take_to(draft, state)
        part = PredecessorFactory.create()
        with pytest.raises(IntegrityError, match="is frozen"), transaction.atomic():
            Predecessor.objects.filter(pk=part.pk).update(release=draft)

    @pytest.mark.parametrize("state", FROZEN)
    def test_is_given_more_time_only_while_it_is_published(self, draft: FirmwareRelease, state: str) -> None:
        take_to(draft, state)
        if state in ("published", "halted"):
            assert later(draft, 1) == 1
            return
        with pytest.raises(IntegrityError, match="is frozen"), transaction.atomic():
            later(draft, 1)

    def test_may_be_written_again_as_it_is(self, draft: FirmwareRelease) -> None:
        take_to(draft, "published")
        draft.policy.save()
        draft.periods.get().save()


class TestADraft:
    @pytest.mark.parametrize("change", CHANGES)
    def test_may_change_in_every_part(self, draft: FirmwareRelease, change: str) -> None:
        CHANGES[change](draft)

    def test_may_be_deleted_with_its_parts(self, draft: FirmwareRelease) -> None:
        draft.delete()
        assert not Predecessor.objects.filter(release=draft.pk).exists()
