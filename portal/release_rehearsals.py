"""Let DCC staff rehearse a release before anybody gets it, watch the rehearsal, and see what it came to."""

import json

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from firmware import queries as releases
from firmware.models import FirmwareRelease
from portal import databases, rehearsals
from portal.forms import RehearsalForm
from portal.ground import clock
from portal.ground.access import user_of
from portal.models import User
from scheduling.models import Rehearsal
from scheduling.operations import asked_rehearsals
from scheduling.operations.asked_rehearsals import MAY_ASK, UnableToAsk, UnableToStop
from scheduling.queries import asked_rehearsals as questions

VIEW = "firmware.view_firmwarerelease"
EVERY_SECONDS = 2
"""How often a page asks for itself again while a rehearsal is not over."""


def _release(request: HttpRequest, release_id: int) -> FirmwareRelease:
    """Return a release, to whoever may see releases."""
    release = get_object_or_404(FirmwareRelease.objects.select_related("policy", "version"), pk=release_id)
    if not user_of(request).has_perm(VIEW):
        raise PermissionDenied
    return release


def _rehearsal(release: FirmwareRelease, rehearsal_id: int) -> Rehearsal:
    found = Rehearsal.objects.select_related("release", "asked_by", "network", "model").defer("plan")
    return get_object_or_404(found, pk=rehearsal_id, release=release)


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest, release_id: int) -> HttpResponse:
    """Show the rehearsals of a release and the form that asks for one, or take it; asked by htmx, only the list."""
    release = _release(request, release_id)
    person = user_of(request)
    told = questions.of_release(release=release)
    context = {
        "release": release,
        "as_of": clock.now(),
        "rehearsals": told,
        "is_any_open": any(one.is_open for one in told),
        "every_seconds": EVERY_SECONDS,
        "may_ask": person.has_perm(MAY_ASK),
    }
    if request.headers.get("HX-Request"):
        return render(request, "admin/rehearsals/_list.html", context)
    form = RehearsalForm(
        request.POST or None,
        release=release,
        cannot_be_whole="" if databases.may_make() else databases.right(),
        initial={"hubs": releases.reach(release=release).hubs or None},
    )
    if request.method == "POST":
        if not person.has_perm(MAY_ASK):
            raise PermissionDenied
        if form.is_valid() and (asked := _ask(release, form, person)):
            return HttpResponseRedirect(reverse("rehearsal", args=[release.pk, asked.pk]))
    context |= {
        **admin.site.each_context(request),
        "title": f"Rehearsals: {release.name}",
        "form": form,
        "is_over": release.ended_at is not None,
    }
    return render(request, "admin/rehearsals/page.html", context)


def _ask(release: FirmwareRelease, form: RehearsalForm, by: User) -> Rehearsal | None:
    """Ask for what the form says; where that cannot be, say so in the form and return None."""
    wish = form.wish()
    defect = None
    if wish.percent:
        defect = rehearsals.Defect(
            share=float(wish.percent) / 100,
            kind=wish.kind,
            network=wish.network.code if wish.network else None,
            model=wish.model.name if wish.model else None,
        )
    try:
        plan = rehearsals.of_release(release=release, hubs=wish.hubs, defect=defect, seed=wish.seed)
        if wish.is_whole:
            rehearsals.check_whole(plan=plan)
        return asked_rehearsals.ask(
            release=release, wish=wish, plan=json.loads(plan.as_json()), by=by, now=clock.now()
        )
    except (rehearsals.UnableToRehearse, UnableToAsk) as refusal:
        form.add_error(None, str(refusal))
        return None


@require_safe
def one(request: HttpRequest, release_id: int, rehearsal_id: int) -> HttpResponse:
    """Show how far a rehearsal is, and what it came to; asked by htmx, only what changes."""
    release = _release(request, release_id)
    told = questions.told(rehearsal=_rehearsal(release, rehearsal_id))
    context = {
        "release": release,
        "told": told,
        "every_seconds": EVERY_SECONDS,
        "may_ask": user_of(request).has_perm(MAY_ASK),
    }
    if request.headers.get("HX-Request"):
        return render(request, "admin/rehearsals/_one.html", context)
    context |= {**admin.site.each_context(request), "title": f"{told.rehearsal}: {release.name}"}
    return render(request, "admin/rehearsals/one.html", context)


@require_POST
def stop(request: HttpRequest, release_id: int, rehearsal_id: int) -> HttpResponse:
    """Stop a rehearsal that is not over."""
    release = _release(request, release_id)
    person = user_of(request)
    if not person.has_perm(MAY_ASK):
        raise PermissionDenied
    try:
        asked_rehearsals.stop(rehearsal=_rehearsal(release, rehearsal_id), by=person, now=clock.now())
    except UnableToStop as refusal:
        messages.info(request, str(refusal))
    return HttpResponseRedirect(reverse("rehearsal", args=[release.pk, rehearsal_id]))
