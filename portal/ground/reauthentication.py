"""Ask whoever does what matters to show again who they are, if they have not within five minutes."""

from allauth.account.internal.flows.reauthentication import raise_if_reauthentication_required
from django.http import HttpRequest

from portal.ground import asking
from portal.ground.access import SAFE_VERBS


def known_recently(request: HttpRequest) -> None:
    """
    Let a request that changes something through where its person has shown of late who they are.

    :raises ReauthenticationRequired: if not; the middleware then asks them, and takes the request up again
    """
    if request.method not in SAFE_VERBS:
        with asking.at_the_door():
            raise_if_reauthentication_required(request, app="portal")
