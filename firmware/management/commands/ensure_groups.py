"""Make the groups of DCC staff."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from firmware.operations import groups


class Command(BaseCommand):
    """Make the groups of DCC staff with their permissions; may be run again at any time."""

    help = "Make the groups of DCC staff, one for each role, with their permissions."

    def handle(self, **_: Any) -> None:
        """Make them."""
        try:
            groups.ensure_groups()
        except groups.PermissionsMissing as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{', '.join(groups.NAMES)}: ready.")
