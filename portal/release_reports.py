"""Show DCC staff what happened to a release, hand out its evidence pack, and publish the key that checks packs."""

import re
import tempfile

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.text import slugify
from django.views.decorators.http import require_POST, require_safe

from firmware.models import FirmwareRelease
from portal.ground import clock
from portal.ground.access import user_of
from portal.ground.downloads import csv_response
from scheduling import packs
from scheduling.operations import packs as making
from scheduling.queries import cohorts, control_room, outcomes, reports
from scheduling.views.charts import cells_chart, cells_response, rollout_chart, rollout_response
from scheduling.views.downloads import BAD_HUBS, bad_hub_cells

VIEW = "firmware.view_firmwarerelease"
HUBS = 100
"""Bad hubs on a page."""


def _release(request: HttpRequest, release_id: int) -> FirmwareRelease:
    """Return a release that was ever published, to whoever may see releases."""
    release = get_object_or_404(reports.published(), pk=release_id)
    if not user_of(request).has_perm(VIEW):
        raise PermissionDenied
    return release


@require_safe
def page(request: HttpRequest, release_id: int) -> HttpResponse:
    """Show what happened to a release that was ever published."""
    release = _release(request, release_id)
    report = reports.of_release(release=release, now=clock.now())
    context = {
        **admin.site.each_context(request),
        "title": f"Report: {release.name}",
        "report": report,
        "rollout": rollout_chart(
            rollout=outcomes.rollout(release=release.pk),
            key=str(release.pk),
            address=reverse("rollout-file", args=[release.pk]),
        ),
        "by_model": cells_chart(
            cells=report.situation.cells,
            key=str(release.pk),
            address=reverse("outcomes-file", args=[release.pk]),
        ),
    }
    return render(request, "admin/release_report/page.html", context)


@require_safe
def rollout_file(request: HttpRequest, release_id: int) -> StreamingHttpResponse:
    """Send how a release went over time as CSV."""
    return rollout_response(release=_release(request, release_id))


@require_safe
def outcomes_file(request: HttpRequest, release_id: int) -> StreamingHttpResponse:
    """Send what became of the hubs of each model on each network as CSV."""
    release = _release(request, release_id)
    [situation] = control_room.situations(shown=[release], now=clock.now())
    return cells_response(release=release, cells=situation.cells)


@require_POST
def pack(request: HttpRequest, release_id: int) -> FileResponse:
    """Make the evidence pack of a release and send it; that it was taken is on record before its first byte goes."""
    release = _release(request, release_id)
    person = user_of(request)
    now = clock.now()
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the response that sends it
    try:
        making.make(release=release, file=file, by=person, now=now)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    name = f"evidence-{slugify(release.cpl_entry_id)}-{now:%Y%m%dT%H%M%SZ}.zip"
    return FileResponse(file, as_attachment=True, filename=name, content_type="application/zip")


@require_safe
def bad_hubs(request: HttpRequest, release_id: int) -> HttpResponse:
    """Show the hubs that speak against a release, page by page, and what they have in common."""
    release = _release(request, release_id)
    asked = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,18})", request.GET.get("after", ""))
    after = (int(asked[1]), int(asked[2])) if asked else (0, 0)
    found = cohorts.hubs_concerned(release=release, after=after, limit=HUBS + 1)
    shown = found[:HUBS]
    context = {
        **admin.site.each_context(request),
        "title": f"Bad hubs: {release.name}",
        "release": release,
        "as_of": clock.now(),
        "in_common": cohorts.in_common(releases=[release.pk]).get(release.pk),
        "hubs": [(one.bad.supplier.name, bad_hub_cells(one=one)) for one in shown],
        "header": BAD_HUBS,
        "is_first": after == (0, 0),
        "next": f"{shown[-1].bad.supplier_id}-{shown[-1].bad.deployment_id}" if len(found) > HUBS else "",
    }
    return render(request, "admin/release_report/bad_hubs.html", context)


@require_safe
def bad_hubs_file(request: HttpRequest, release_id: int) -> StreamingHttpResponse:
    """Send all of them as CSV, with the Supplier that booked each."""
    release = _release(request, release_id)
    return csv_response(
        name=f"bad-hubs-{slugify(release.cpl_entry_id)}.csv",
        header=(*BAD_HUBS, "Booked by"),
        rows=(
            (*bad_hub_cells(one=one), one.bad.supplier.name)
            for one in cohorts.every_hub_concerned(release=release)
        ),
    )


@login_not_required
@require_safe
def key(request: HttpRequest) -> HttpResponse:
    """Publish the key by which anybody can check a pack; it signs nothing."""
    public = packs.private_key(text=settings.EVIDENCE_KEY).public_key()
    return HttpResponse(packs.as_pem(key=public), content_type="application/x-pem-file")
