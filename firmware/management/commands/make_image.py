"""Write a firmware image for demos and tests."""

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from firmware import images


def _hexadecimal(text: str, digits: int) -> int:
    if not 0 < len(text) <= digits or set(text.lower()) - set("0123456789abcdef"):
        raise CommandError(f"{text!r} is not a number of up to {digits} hexadecimal digits.")
    return int(text, 16)


class Command(BaseCommand):
    """Write a valid image and print what a release manager types about it."""

    help = (
        "Write a valid firmware image, and print what a release manager types about it. The same arguments "
        "give the same header and payload; the signature, and with it the hash, is new each time, because "
        "it is made with a key that is thrown away."
    )

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        """Let --version mean the image's, which is what people type, not Django's."""
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **options)

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare what the image says about itself."""
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--manufacturer", required=True, metavar="10A1", help="manufacturer code, hexadecimal"
        )
        parser.add_argument("--image-type", required=True, metavar="0001", help="image type, hexadecimal")
        parser.add_argument(
            "--version", required=True, metavar="00010203", dest="file_version", help="hexadecimal"
        )
        parser.add_argument("--size", type=int, default=200_000, help="of the whole file, in bytes")
        parser.add_argument("--minimum-hardware", metavar="0000", help="hexadecimal; given with the maximum")
        parser.add_argument("--maximum-hardware", metavar="FFFF", help="hexadecimal; given with the minimum")
        parser.add_argument("--seed", type=int, default=0, help="chooses the payload")
        parser.add_argument("--force", action="store_true", help="overwrite a file that exists")

    def handle(
        self,
        *,
        file: Path,
        manufacturer: str,
        image_type: str,
        file_version: str,
        size: int,
        minimum_hardware: str | None,
        maximum_hardware: str | None,
        seed: int,
        force: bool,
        **_: Any,
    ) -> None:
        """Write the image and print its particulars."""
        if (minimum_hardware is None) != (maximum_hardware is None):
            raise CommandError("Give both ends of the hardware range, or neither.")
        blueprint = images.Blueprint(
            manufacturer=_hexadecimal(manufacturer, 4),
            image_type=_hexadecimal(image_type, 4),
            version=_hexadecimal(file_version, 8),
            payload=0,
            minimum_hardware=None if minimum_hardware is None else _hexadecimal(minimum_hardware, 4),
            maximum_hardware=None if maximum_hardware is None else _hexadecimal(maximum_hardware, 4),
            text="Made by make_image",
        )
        try:
            blueprint = blueprint.resized(size)
        except ValueError as error:
            raise CommandError(str(error)) from error
        content = images.build(blueprint=blueprint, seed=seed, key=ec.generate_private_key(ec.SECP256R1()))
        try:
            with file.open("wb" if force else "xb") as target:
                target.write(content)
        except FileExistsError as error:
            raise CommandError(f"{file} exists: choose another name, or add --force.") from error
        except OSError as error:
            raise CommandError(f"{file} cannot be written: {error.strerror}.") from error
        self.stdout.write(self._particulars(content, blueprint))
        if size > settings.IMAGE_SIZE_LIMIT:
            self.stderr.write(f"Note: uploads larger than {settings.IMAGE_SIZE_LIMIT:,} bytes are refused.")

    def _particulars(self, content: bytes, blueprint: images.Blueprint) -> str:
        hardware = (
            "not stated"
            if blueprint.minimum_hardware is None or blueprint.maximum_hardware is None
            else f"{blueprint.minimum_hardware:04X} to {blueprint.maximum_hardware:04X}"
        )
        rows = {
            "Version": f"{blueprint.version:08X}",
            "CPL hash (SHA-256)": images.digest_of([content]),
            "Manufacturer": f"{blueprint.manufacturer:04X}",
            "Image type": f"{blueprint.image_type:04X}",
            "Hardware range": hardware,
            "Size": f"{len(content):,} bytes",
        }
        return "\n".join(f"{label + ':':<20}{value}" for label, value in rows.items())
