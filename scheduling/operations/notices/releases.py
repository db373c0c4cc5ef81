"""E-mails about a release: that it is published."""

from datetime import datetime

from django.db import transaction
from django.db.models import Sum

from firmware import queries as releases
from firmware.models import FirmwareRelease, ReleaseState
from hubs.models import Supplier
from scheduling.models import Notice
from scheduling.operations.notices.owing import of_release, owe, people_of, shown


@transaction.atomic
def owe_published(*, now: datetime) -> int:
    """Tell every Supplier that leads eligible hubs of a published release, once; return how many were told."""
    told = 0
    for release in FirmwareRelease.objects.filter(state=ReleaseState.PUBLISHED).select_related("version"):
        counts = (
            releases.eligible_counts(release=release)
            .filter(lead__isnull=False)
            .values("lead")
            .annotate(hubs=Sum("hubs"))
            .order_by("lead")
        )
        already = set(
            Notice.objects.filter(
                kind=Notice.Kind.PUBLISHED, subject_key=releases.subject(release_id=release.pk)
            ).values_list("supplier", flat=True)
        )
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
