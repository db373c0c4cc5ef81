"""Show DCC staff what happened to a release, hand out its evidence pack, and publish the key that checks packs."""

import tempfile

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.text import slugify
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from portal.ground import clock
from portal.ground.access import user_of
from scheduling import packs
from scheduling.operations import packs as making
from scheduling.queries import reports

VIEW = "firmware.view_firmwarerelease"


@never_cache
@require_safe
def page(request: HttpRequest, release_id: int) -> HttpResponse:
    """Show what happened to a release that was ever published."""
    release = get_object_or_404(reports.published(), pk=release_id)
    if not user_of(request).has_perm(VIEW):
        raise PermissionDenied
    report = reports.of_release(release=release, now=clock.now())
    context = {
        **admin.site.each_context(request),
        "title": f"Report: {release.name}",
        "report": report,
    }
    return render(request, "admin/release_report/page.html", context)


@never_cache
@require_POST
def pack(request: HttpRequest, release_id: int) -> FileResponse:
    """Make the evidence pack of a release and send it; that it was taken is on record before its first byte goes."""
    release = get_object_or_404(reports.published(), pk=release_id)
    person = user_of(request)
    if not person.has_perm(VIEW):
        raise PermissionDenied
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


@login_not_required
@require_safe
def key(request: HttpRequest) -> HttpResponse:
    """Publish the key by which anybody can check a pack; it signs nothing."""
    public = packs.private_key(text=settings.EVIDENCE_KEY).public_key()
    return HttpResponse(packs.as_pem(key=public), content_type="application/x-pem-file")
