"""Check an evidence pack: its signature, its files, and whether the audit still says what it says."""

from pathlib import Path
from typing import IO, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from scheduling import packs
from scheduling.packs import Finding
from scheduling.queries import reports


class Command(BaseCommand):
    """Say what was checked; end with 1 if anything differs."""

    help = (
        "Check an evidence pack: that its signature holds, that each file is what was signed, and that the decisions in"
        " it still stand in this portal's audit."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the pack, another key than this portal's, and leave the database out."""
        parser.add_argument("file", type=Path, help="The pack, a ZIP file.")
        parser.add_argument(
            "--key",
            help="Public key to check against: a PEM file, or 64 hexadecimal digits. Otherwise this portal's own.",
        )
        parser.add_argument(
            "--file-only",
            action="store_true",
            help="Leave this portal's audit out, as for another portal's pack.",
        )

    def handle(self, **options: Any) -> None:
        """Check the file, and then the audit."""
        key = _key(options["key"])
        try:
            with options["file"].open("rb") as file:
                findings = _look(file, key, is_file_only=options["file_only"])
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be read: {error.strerror}.") from None
        for finding in findings:
            self.stdout.write(f"{'Holds' if finding.holds else 'DIFFERS'}: {finding.words}")
        if differing := sum(not finding.holds for finding in findings):
            raise CommandError(
                f"This is not the pack that was signed, or not what the portal knows: {differing:,} of "
                f"{len(findings):,} checks found a difference. Do not rely on it."
            )
        self.stdout.write("The pack is what was signed.")


def _key(named: str | None) -> Ed25519PublicKey:
    if named is None:
        return packs.private_key(text=settings.EVIDENCE_KEY).public_key()
    try:
        path = Path(named)
        return packs.public_key(text=path.read_text() if path.is_file() else named)
    except (packs.NoKey, OSError, UnicodeDecodeError) as error:
        raise CommandError(f"The key cannot be used. {error}") from None


def _look(file: IO[bytes], key: Ed25519PublicKey, *, is_file_only: bool) -> list[Finding]:
    verdict = packs.verify(file=file, key=key)
    findings = list(verdict.findings)
    if verdict.holds and verdict.manifest is not None and not is_file_only:
        try:
            findings.append(reports.still_recorded(file=file, head=verdict.manifest["decisions"]["head"]))
        except DatabaseError:
            raise CommandError(
                "The file is what was signed, but the portal's database does not answer, so its audit could not be"
                " compared. Try again, or leave it out with --file-only."
            ) from None
    return findings
