"""The command that writes images for demos and tests."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from firmware import images

ARGUMENTS = ["--manufacturer", "10A1", "--image-type", "0001", "--version", "00010203"]


def make(file: Path, *arguments: str) -> str:
    output = StringIO()
    call_command("make_image", str(file), *ARGUMENTS, *arguments, stdout=output, stderr=output)
    return output.getvalue()


class TestMakeImage:
    def test_writes_an_image_that_passes_and_prints_what_is_typed(self, tmp_path: Path) -> None:
        file = tmp_path / "hub.ota"

        printed = make(file, "--size", "4000", "--minimum-hardware", "0001", "--maximum-hardware", "00FF")

        with file.open("rb") as stream:
            image = images.inspect(stream, 750_000)
        assert (image.size, image.header.minimum_hardware, image.header.maximum_hardware) == (4000, 1, 0xFF)
        for shown in (image.digest, "00010203", "10A1", "0001 to 00FF", "4,000 bytes"):
            assert shown in printed

    def test_repeats_all_but_the_signature_for_the_same_seed(self, tmp_path: Path) -> None:
        make(tmp_path / "a", "--seed", "7")
        make(tmp_path / "b", "--seed", "7")
        make(tmp_path / "c", "--seed", "8")

        a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
        assert a[:-64] == b[:-64] != c[:-64]
        assert a[-64:] != b[-64:]

    def test_overwrites_only_by_force(self, tmp_path: Path) -> None:
        file = tmp_path / "hub.ota"
        file.write_text("precious")

        with pytest.raises(CommandError, match="--force"):
            make(file)
        assert file.read_text() == "precious"

        make(file, "--force")
        assert file.read_bytes()[:4] == b"\x1e\xf1\xee\x0b"

    def test_makes_one_that_is_too_large_to_upload_but_says_so(self, tmp_path: Path) -> None:
        printed = make(tmp_path / "large", "--size", "2000000")

        assert "larger than 750,000 bytes" in printed

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--size", "100"),
            ("--minimum-hardware", "0001"),
            ("--minimum-hardware", "xyz", "--maximum-hardware", "00FF"),
            ("--manufacturer", "10A1F"),
        ],
    )
    def test_says_what_cannot_be(self, tmp_path: Path, arguments: tuple[str, ...]) -> None:
        with pytest.raises(CommandError):
            make(tmp_path / "hub.ota", *arguments)

        assert not (tmp_path / "hub.ota").exists()
