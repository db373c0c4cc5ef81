"""E-mails about a release: published, its booking deadline ahead, halted, resumed, withdrawn."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q, Sum

from firmware import queries as releases
from firmware.models import OPEN_TO_SUPPLIERS, WHOLE, FirmwareRelease, Halt, Part, ReleaseState
from hubs.models import FleetCount, Network, Supplier
from portal.ground import sql, uk_time
from portal.ground.models import AuditEntry
from scheduling.lifecycle import OPEN, Ending, State
from scheduling.models import LOT_SPAN, Booking, HubSelection, Lot, Notice
from scheduling.operations.notices.owing import address_of, of_release, owe, people_of, shown
from scheduling.queries import deadlines, eligibility, standings

DEADLINE_AHEAD = tuple(uk_time.Span(days, "working days") for days in (10, 5, 2))
"""How long before the last moment to book Suppliers are reminded of it, the longest first."""
WHOLE_HALT = Q(network=None, model=None, installed_version=None)
NEWS = timedelta(days=28)
"""What a release went through longer ago than this is told to nobody who has not heard of it."""


@transaction.atomic
def owe_published(*, now: datetime) -> int:
    """
    Tell every Supplier that leads eligible hubs of a published release, once; return how many were told.

    While a release is halted nobody is told that it can be booked: whoever has not heard of it by then hears of it
    when it is resumed.
    """
    told = 0
    for release in FirmwareRelease.objects.filter(state=ReleaseState.PUBLISHED).select_related("version"):
        counts = (
            releases.eligible_counts(release=release)
            .filter(lead__isnull=False)
            .values("lead")
            .annotate(hubs=Sum("hubs"))
            .order_by("lead")
        )
        already = _told(Notice.Kind.PUBLISHED, releases.subject(release_id=release.pk))
        periods = list(release.periods.select_related("network").order_by("start_at", "network__name"))
        for count in counts:
            if count["lead"] in already:
                continue
            supplier = Supplier.objects.get(pk=count["lead"])
            owe(
                kind=Notice.Kind.PUBLISHED,
                subject_key=releases.subject(release_id=release.pk),
                addresses=people_of(supplier=supplier),
                context={
                    **of_release(release=release),
                    "supplier": supplier.name,
                    "hubs": count["hubs"],
                    "opens": shown(periods[0].start_at),
                    "periods": [
                        {
                            "network": period.network.name,
                            "opens": shown(period.start_at),
                            "closes": shown(period.end_at),
                        }
                        for period in periods
                    ],
                    "cut_off": str(release.policy.cut_off),
                },
                now=now,
                supplier=supplier,
            )
            told += 1
    return told


def _told(kind: Notice.Kind, subject_key: str) -> set[int]:
    """Return the ids of the Suppliers of which somebody is owed this, or has got it."""
    notices = Notice.objects.filter(kind=kind, subject_key=subject_key, supplier__isnull=False)
    return set(notices.values_list("supplier_id", flat=True).distinct())


# -- the deadline --------------------------------------------------------------------------------------------


def owe_deadlines(*, now: datetime) -> int:
    """
    Remind Suppliers with hubs still unbooked, ahead of the last moment to book; return how many e-mails' worth.

    Networks whose last moment is on the same UK day are one matter. Only the nearest of the moments to remind is
    told when several have passed, and none that had passed when the release was published. The counts of the fleet
    say whom to ask about; how many hubs are left is then counted live, since those counts lag by a minute. Each
    Supplier is told by itself: what a task that is cut short has not come to, the next one does.
    """
    told = 0
    published = FirmwareRelease.objects.filter(state=ReleaseState.PUBLISHED)
    shown_releases = list(standings.with_facts(published).order_by("pk"))
    moments = deadlines.of_releases(releases_shown=shown_releases)
    names = dict(Network.objects.values_list("id", "name"))
    for release in shown_releases:
        for day, ahead, until in _near(release, moments[release.pk], now):
            key = f"{releases.subject(release_id=release.pk)}:{day}:{ahead.amount}"
            told += _remind_of_deadline(release, key, until, names, now)
    return told


def _near(
    release: FirmwareRelease, moments: Mapping[int, datetime], now: datetime
) -> Iterator[tuple[str, uk_time.Span, Mapping[int, datetime]]]:
    """Yield each UK day on which networks can last be booked, if it is near, how near, and when by network id."""
    of_day: dict[str, dict[int, datetime]] = defaultdict(dict)
    for network, moment in moments.items():
        if moment > now:
            of_day[moment.astimezone(uk_time.LONDON).date().isoformat()][network] = moment
    for day, until in of_day.items():
        first = min(until.values())
        passed = [ahead for ahead in DEADLINE_AHEAD if ahead.before(first) <= now]
        if passed and release.published_at and passed[-1].before(first) > release.published_at:
            yield day, passed[-1], until


def _remind_of_deadline(
    release: FirmwareRelease,
    key: str,
    until: Mapping[int, datetime],
    names: Mapping[int, str],
    now: datetime,
) -> int:
    leads = (
        releases.eligible_counts(release=release)
        .filter(lead__isnull=False, network__in=until)
        .values_list("lead", flat=True)
        .distinct()
    )
    told = 0
    for supplier in Supplier.objects.filter(pk__in=set(leads) - _told(Notice.Kind.DEADLINE, key)).order_by(
        "pk"
    ):
        people = people_of(supplier=supplier)
        [standing] = standings.standings(supplier=supplier, releases_shown=[release])
        if not people or not standing.left:
            continue
        remaining = HubSelection(supplier=supplier, release=release, method=HubSelection.Method.ALL)
        eligible = eligibility.judge(selection=remaining, now=now).eligible
        left = {network: hubs for network in until if (hubs := eligible.get(network, 0))}
        if not left:
            continue
        owe(
            kind=Notice.Kind.DEADLINE,
            subject_key=key,
            addresses=people,
            context={
                **of_release(release=release),
                "supplier": supplier.name,
                "hubs": sum(left.values()),
                "until": shown(min(until[network] for network in left)),
                "networks": [
                    {"network": names[network], "hubs": hubs, "shown": shown(until[network])}
                    for network, hubs in sorted(left.items(), key=lambda one: names[one[0]])
                ],
                "book_url": address_of("scheduling:book", release.pk),
            },
            now=now,
            supplier=supplier,
        )
        told += 1
    return told


# -- halted, resumed, withdrawn ------------------------------------------------------------------------------

# activating: it has begun, and is read to its end
_WAITING = tuple(state for state in OPEN if state != State.ACTIVATING)


def owe_stops(*, now: datetime) -> int:
    """
    Tell of releases, or parts of them, that were halted, resumed or withdrawn; return to how many something was told.

    Each halt and each end of one is told once, to the Suppliers that had booked or had been told of the release.
    A halt that was over before anybody heard of it is told together with its end.
    """
    told = 0
    recent = now - NEWS
    halts = Halt.objects.select_related("release__version", "network", "model", "installed_version").order_by(
        "pk"
    )
    for halt in halts.filter(lifted_at=None, release__state__in=OPEN_TO_SUPPLIERS):
        told += _tell_of_halt(Notice.Kind.HALTED, halt, halt.halted_at, now)
    lifted = halts.filter(lifted_at__gt=recent, release__state__in=OPEN_TO_SUPPLIERS)
    for halt in lifted.exclude(WHOLE_HALT, release__state=ReleaseState.HALTED):
        assert halt.lifted_at is not None  # noqa: S101 - the filter says so
        told += _tell_of_halt(Notice.Kind.RESUMED, halt, halt.lifted_at, now)
    for release in FirmwareRelease.objects.filter(
        state=ReleaseState.WITHDRAWN, ended_at__gt=recent, published_at__isnull=False
    ).order_by("pk"):
        told += _tell_of_withdrawal(release, now)
    return told


def _concerned(
    release: FirmwareRelease, before: datetime, kind: Notice.Kind, key: str, part: Part = WHOLE
) -> list[Supplier]:
    """
    Return the Suppliers that had booked the release or been told of it by then, and not been told this yet.

    Of a part of it, those that lead hubs of that part, as last counted.
    """
    booked = Booking.objects.filter(release=release, created_at__lte=before, abandoned_at=None)
    heard = Notice.objects.filter(
        kind=Notice.Kind.PUBLISHED,
        subject_key=releases.subject(release_id=release.pk),
        owed_at__lte=before,
        supplier__isnull=False,
    )
    concerned = Supplier.objects.filter(
        Q(pk__in=booked.values("supplier")) | Q(pk__in=heard.values("supplier"))
    )
    if part.key:
        concerned = concerned.filter(
            pk__in=FleetCount.objects.filter(
                model__in=release.hub_models.values("pk"), lead__isnull=False, **part.key
            ).values("lead")
        )
    return list(concerned.exclude(pk__in=_told(kind, key)).order_by("pk"))


def _counts(release: FirmwareRelease, states: Sequence[State]) -> dict[int, int]:
    """Return how many hubs of a release are in these states, by Supplier id, from the counts of its lots."""
    together = sum((F(str(state)) for state in states), start=F("provisional") * 0)
    lots = Lot.objects.filter(release=release).order_by()
    return dict(lots.values_list("supplier").annotate(hubs=Sum(together)))


def _tell_of_halt(kind: Notice.Kind, halt: Halt, moment: datetime, now: datetime) -> int:
    release = halt.release
    key = f"{releases.subject(release_id=release.pk)}:halt:{halt.pk}"
    if not (suppliers := _concerned(release, moment, kind, key, halt.part)):
        return 0
    waiting, activating = _counts(release, _WAITING), _counts(release, [State.ACTIVATING])
    for supplier in suppliers:
        owe(
            kind=kind,
            subject_key=key,
            addresses=people_of(supplier=supplier),
            context={
                **of_release(release=release),
                "supplier": supplier.name,
                "hubs": waiting.get(supplier.pk, 0),
                "activating": activating.get(supplier.pk, 0),
                "part": "" if halt.is_whole else str(halt.part),
                "halted": shown(halt.halted_at),
                "reason": halt.reason,
                "resumed": shown(halt.lifted_at) if halt.lifted_at else "",
                "resumed_reason": halt.lifted_reason,
                "cut_off": str(release.policy.cut_off),
            },
            now=now,
            supplier=supplier,
        )
    return len(suppliers)


# Raw SQL: a withdrawal cancels by the lot, and the hubs of a whole release are counted once, wherever that is.
# OFFSET keeps PostgreSQL from joining the whole table of deployments instead of each lot's stretch of it.
WITHDRAWN = """
SELECT lot.supplier_id, sum(gone.hubs)::int FROM scheduling_lot lot
CROSS JOIN LATERAL (
    SELECT count(*) AS hubs FROM scheduling_deployment
    WHERE id BETWEEN lot.id * %(span)s AND lot.id * %(span)s + %(span)s - 1 AND ending = %(withdrawn)s
    OFFSET 0) gone
WHERE lot.release_id = %(release)s AND lot.cancelled > lot.moved GROUP BY 1
"""


def _tell_of_withdrawal(release: FirmwareRelease, now: datetime) -> int:
    key = releases.subject(release_id=release.pk)
    assert release.ended_at is not None  # noqa: S101 - release_ended_at_when_ended
    if not (suppliers := _concerned(release, release.ended_at, Notice.Kind.WITHDRAWN, key)):
        return 0
    entry = AuditEntry.objects.filter(subject=key, verb="release.withdrawn").order_by("-pk").first()
    cancelled = dict(
        sql.rows(WITHDRAWN, {"release": release.pk, "span": LOT_SPAN, "withdrawn": Ending.WITHDRAWN})
    )
    waiting = _counts(release, _WAITING)
    activating, done = _counts(release, [State.ACTIVATING]), _counts(release, [State.SUCCEEDED])
    for supplier in suppliers:
        owe(
            kind=Notice.Kind.WITHDRAWN,
            subject_key=key,
            addresses=people_of(supplier=supplier),
            context=_of_withdrawal(
                release,
                supplier,
                entry.reason if entry else "",
                {
                    "hubs": cancelled.get(supplier.pk, 0) + waiting.get(supplier.pk, 0),
                    "activating": activating.get(supplier.pk, 0),
                    "succeeded": done.get(supplier.pk, 0),
                },
            ),
            now=now,
            supplier=supplier,
        )
    return len(suppliers)


def _of_withdrawal(
    release: FirmwareRelease, supplier: Supplier, reason: str, counts: Mapping[str, int]
) -> dict[str, Any]:
    assert release.ended_at is not None  # noqa: S101 - release_ended_at_when_ended
    return {
        **of_release(release=release),
        "supplier": supplier.name,
        **counts,
        "withdrawn": shown(release.ended_at),
        "reason": reason,
        "bookings_url": address_of("scheduling:bookings"),
    }
