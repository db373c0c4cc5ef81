"""Which pages there are, as whom each is looked at, and in which states."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from django.contrib.admin import site
from django.urls import NoReverseMatch, reverse

from hubs.identifiers import format_eui64
from scheduling.models import HubException
from tests.portal.every_page import NO_PAGES, at_the_door, of_everybody, of_staff, of_suppliers
from tests.portal.matrix import read
from tests.portal.test_matrix import SUPPLIERS, table_address
from tests.screenshots.world import Scene

NEW_PEOPLE = ("newcomer", "without-hubs")
DCC = ("author", "approver", "operations-dcc", "auditor", "people")
OF_A_SUPPLIER = ("home", "release", "bookings", "booking", "hubs", "hub", "windows", "consents", "groups")


NO_ADDRESS = "an address that is none"


@dataclass(frozen=True, slots=True, order=True)
class View:
    """A page as somebody sees it; `state` says what of it, where a page is looked at more than once."""

    page: str
    who: str
    address: str
    state: str = ""

    @property
    def name(self) -> str:
        """Return what its pictures are called: made of letters, digits and hyphens."""
        words = f"{self.page} {self.state} {self.who}".lower()
        return "-".join("".join(one if one.isalnum() else " " for one in words).split())


def views(*, scene: Scene, wanted: Sequence[str] = ()) -> list[View]:
    """Return every page as everybody to whom it shows something of its own; of those `wanted`, by patterns."""
    found: dict[str, View] = {}
    for view in _all(scene):
        if view.page not in NO_PAGES and (
            not wanted or any(fnmatch(word, one) for one in wanted for word in (view.page, view.name))
        ):
            found.setdefault(view.name, view)
    return list(found.values())


def _all(scene: Scene) -> Iterator[View]:
    for page, address in (of_suppliers(scene) | of_everybody(scene)).items():
        yield View(page, "administrator", address)
    for page, address in of_staff(scene).items():
        yield View(page, "superuser", address)
    for page, address in at_the_door(scene).items():
        yield View(page, "a stranger", f"/{address.lstrip('/')}")
    yield from _of_roles(scene)
    yield from _in_states(scene)
    yield from _tables(scene)


def _of_roles(scene: Scene) -> Iterator[View]:
    """Yield the pages of a Supplier's that look otherwise to people with other roles, or with nothing yet."""
    pages = of_suppliers(scene)
    for name in OF_A_SUPPLIER:
        for who in ("operations", "read-only"):
            yield View(f"scheduling:{name}", who, pages[f"scheduling:{name}"])
    for line in read(SUPPLIERS):
        try:
            address = reverse(f"scheduling:{line.route}")
        except NoReverseMatch:  # it names something, and new people have nothing
            continue
        for who in NEW_PEOPLE:
            yield View(f"scheduling:{line.route}", who, address)
    for name in ("release", "book"):
        yield View(f"scheduling:{name}", "newcomer", pages[f"scheduling:{name}"])
    submitted = scene.releases["submitted"].pk
    for who in DCC:
        yield View("admin:index", who, reverse("admin:index"))
        yield View("control-room", who, reverse("control-room"))
        yield View(
            "admin release",
            who,
            reverse("admin:firmware_firmwarerelease_change", args=[submitted]),
            "submitted",
        )


def _in_states(scene: Scene) -> Iterator[View]:
    """Yield what looks otherwise in another state."""
    for state, release in scene.releases.items():
        address = reverse("admin:firmware_firmwarerelease_change", args=[release.pk])
        yield View("admin release", "superuser", address, state)
        if release.published_at:
            yield View("release-report", "superuser", reverse("release-report", args=[release.pk]), state)
    for state in ("halted", "coming"):
        address = reverse("scheduling:release", args=[scene.releases[state].pk])
        yield View("scheduling:release", "administrator", address, state)
    for state, booking in scene.bookings.items():
        for page in ("booking", "booked-hubs"):
            address = reverse(f"scheduling:{page}", args=[booking.reference])
            yield View(f"scheduling:{page}", "administrator", address, state)
    hubs = reverse("scheduling:hubs")
    yield View("scheduling:hubs", "administrator", f"{hubs}?search=00-00-00-00-00-00-00-00", "none found")
    yield View(
        "scheduling:hubs", "administrator", f"{hubs}?search={format_eui64(scene.hub.chf_id)}", "one found"
    )
    yield View(NO_ADDRESS, "administrator", "/no/such/page/")


def _tables(scene: Scene) -> Iterator[View]:
    """Yield the lists of the admin."""
    for model in site._registry:
        if model is not HubException:
            yield View(f"admin {model.__name__} list", "superuser", table_address(model, "changelist", scene))
    yield View("admin exceptions", "superuser", table_address(HubException, "changelist", scene))
