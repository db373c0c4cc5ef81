"""What never changes any more of what is carried out: read once, however many lots and reports it concerns."""

from dataclasses import dataclass

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
        self._slots: dict[int, Slot] = {}
        self._bookings: dict[int, Booking] = {}
        self._consents: dict[int, Consent] = {}

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
        if lot.slot_id not in self._slots:
            self._slots[lot.slot_id] = Slot.objects.get(pk=lot.slot_id)
        lot.slot = self._slots[lot.slot_id]
        if lot.booking_id not in self._bookings:
            self._bookings[lot.booking_id] = Booking.objects.get(pk=lot.booking_id)
        lot.booking = self._bookings[lot.booking_id]
        if lot.consent_id is None:
            return
        if lot.consent_id not in self._consents:
            self._consents[lot.consent_id] = Consent.objects.get(pk=lot.consent_id)
        lot.consent = self._consents[lot.consent_id]
