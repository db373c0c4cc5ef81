"""What never changes any more of what is carried out: read once, however many lots and reports it concerns."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Model

from firmware import queries
from firmware.models import FirmwareRelease
from portal.ground.uk_time import Span
from scheduling.models import Booking, Consent, Lot, Slot


@dataclass(frozen=True, slots=True)
class Target:
    """What a release wants of its hubs, and how long it waits before it tries again."""

    version: int
    predecessors: frozenset[int] | None
    """The versions over which it may go; None where it may go over every older one."""
    retry_interval: Span


class Known:
    """
    What one worker has read so far, since it was woken.

    Of a release: all that is frozen when it is published. Its state is no part of this: the Gate asks for it anew.
    Of a slot: its times, which stay as they are while it has hubs.
    """

    def __init__(self) -> None:
        self._releases: dict[int, FirmwareRelease] = {}
        self._targets: dict[int, Target] = {}
        self._rows: dict[tuple[type[Model], int], Any] = {}

    def release(self, *, pk: int) -> FirmwareRelease:
        """Return a release with its policy, version and hub models."""
        if pk not in self._releases:
            releases = FirmwareRelease.objects.select_related("policy", "version")
            self._releases[pk] = releases.prefetch_related("hub_models").get(pk=pk)
        return self._releases[pk]

    def target(self, *, release: int) -> Target:
        """Return what a release, by id, wants of its hubs."""
        if release not in self._targets:
            wanted = self.release(pk=release)
            predecessors = None
            if not wanted.has_no_predecessor:
                older = queries.eligible_versions(release=wanted).values_list("number", flat=True)
                predecessors = frozenset(older)
            self._targets[release] = Target(wanted.version.number, predecessors, wanted.policy.retry_interval)
        return self._targets[release]

    def tell(self, *, lot: Lot) -> None:
        """Give a lot its release, its slot, its booking, and whom it asked."""
        lot.release = self.release(pk=lot.release_id)
        lot.slot = self._row(Slot, lot.slot_id)
        lot.booking = self._row(Booking, lot.booking_id)
        if lot.consent_id is not None:
            lot.consent = self._row(Consent, lot.consent_id)

    def _row(self, model: type[Model], pk: int) -> Any:
        if (model, pk) not in self._rows:
            self._rows[model, pk] = model._default_manager.get(pk=pk)
        return self._rows[model, pk]
