"""Seal the secrets of second factors with the present key, so that an earlier one can go."""

from typing import Any

from django.core.management.base import BaseCommand

from portal import second_factors


class Command(BaseCommand):
    """Open every secret with whatever key it was sealed with, and seal it with the first."""

    help = "After SEALING_KEY was changed: seal all secrets with it, and SEALING_KEY_FALLBACKS can go"

    def handle(self, **_: Any) -> None:
        """Seal them, and say how many there are."""
        self.stdout.write(f"{second_factors.seal_anew()} secrets are sealed with SEALING_KEY.")
