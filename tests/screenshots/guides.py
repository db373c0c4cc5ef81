"""The pictures of the guides: which there are, and what each shows."""

from collections.abc import Callable
from dataclasses import dataclass

from django.urls import reverse

from tests.scheduling.addresses import address_of
from tests.screenshots.world import Scene

WIDTH, HEIGHT = 1280, 800


@dataclass(frozen=True, slots=True)
class Picture:
    """A page of the scene as somebody sees it, from its top, or from where `begins` stands."""

    name: str
    who: str
    address: Callable[[Scene], str]
    height: int = HEIGHT
    begins: str = ""


def _release(route: str, state: str = "open") -> Callable[[Scene], str]:
    return lambda scene: reverse(route, args=[scene.releases[state].pk])


def _booking(route: str, name: str) -> Callable[[Scene], str]:
    return lambda scene: reverse(f"scheduling:{route}", args=[scene.bookings[name].reference])


def _of(route: str) -> Callable[[Scene], str]:
    return lambda scene: reverse(route)


def _thing(route: str) -> Callable[[Scene], str]:
    return lambda scene: address_of(route, scene)


PICTURES = (
    # the Supplier's guide, and the README
    Picture("home", "administrator", _of("scheduling:home")),
    Picture("first-steps", "newcomer", _of("scheduling:home"), height=880),
    Picture("release", "administrator", _release("scheduling:release")),
    Picture("which-hubs", "administrator", _release("scheduling:book")),
    Picture("when", "administrator", _thing("when"), begins=".picture-ways"),
    Picture("check", "administrator", _thing("check")),
    Picture("booking", "administrator", _booking("booking", "running")),
    Picture("hub", "administrator", _thing("hub")),
    Picture("consents", "administrator", _of("scheduling:consents"), height=560),
    Picture("windows", "administrator", _of("scheduling:windows"), height=480),
    # DCC's
    Picture("release-desk", "approver", _release("admin:firmware_firmwarerelease_change", "submitted")),
    Picture("control-room", "operations-dcc", _of("control-room"), height=700),
    Picture(
        "halted", "operations-dcc", _release("admin:firmware_firmwarerelease_change", "halted"), height=700
    ),
    Picture("exceptions", "operations-dcc", _of("admin:scheduling_hubexception_changelist"), height=560),
    Picture("rehearsals", "author", _release("rehearsals")),
)
