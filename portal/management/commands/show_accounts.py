"""Who can sign in to the demo."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from portal.demo import ACCOUNTS, PASSWORD
from portal.ground.roles import SupplierRole
from portal.models import User

WITHOUT = (
    "\nNobody needs a second factor here; in production DCC staff do. Your account sets one up, and "
    "SECOND_FACTOR=required asks for it."
)


class Command(BaseCommand):
    """Print the demo's accounts as a table."""

    help = "The demo's accounts, with their password"

    def handle(self, **options: Any) -> None:
        """Print one line for each account of the demo, DCC's first."""
        users = User.objects.filter(email__in=[account.email for account in ACCOUNTS], is_active=True)
        rows = [
            (user.email, who(user), user.supplier.name if user.supplier else "DCC")
            for user in users.select_related("supplier")
            .prefetch_related("groups")
            .order_by("-is_staff", "email")
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        self.stdout.write(f"Sign in with one of these, and the password  {PASSWORD}\n\n")
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.stdout.write("  " + "   ".join(cells).rstrip())
        if settings.SECOND_FACTOR != "required":
            self.stdout.write(WITHOUT)


def who(user: User) -> str:
    """Say in a few words what this person comes to do."""
    if user.is_staff:
        groups = ", ".join(group.name for group in user.groups.all())
        return groups or "DCC staff"
    return f"Supplier {SupplierRole(user.role).label.lower()}"
