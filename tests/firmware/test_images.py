"""Image files: read, refused, compared and built."""

import contextlib
import hashlib
import struct
from io import BytesIO

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from firmware import images
from tests.firmware.conftest import BLUEPRINT, KEY

LIMIT = 750_000
HEADER = struct.Struct("<IHHHHHIH32sI")
IMAGE = images.build(blueprint=BLUEPRINT, seed=1, key=KEY)
BODY = IMAGE[60:]


def header(**fields: int) -> bytes:
    values = {
        "magic": images.MAGIC,
        "header_version": 0x0100,
        "length": 60,
        "control": 4,
        "manufacturer": 0x10A1,
        "image_type": 1,
        "version": 0x00010203,
        "stack": 2,
        "size": len(IMAGE),
        "low": 1,
        "high": 0xFF,
    } | fields
    return HEADER.pack(
        *(
            values[name]
            for name in (
                "magic",
                "header_version",
                "length",
                "control",
                "manufacturer",
                "image_type",
                "version",
                "stack",
            )
        ),
        b"text",
        values["size"],
    ) + struct.pack("<HH", values["low"], values["high"])


def element(tag: int, content: bytes) -> bytes:
    return struct.pack("<HI", tag, len(content)) + content


def image_of(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return header(size=60 + len(body)) + body


def compared(content: bytes, claim: images.Claim) -> list[images.Check]:
    return images.compare(image=images.inspect(BytesIO(content), LIMIT), claim=claim, size_limit=LIMIT)


SIGNATURE = element(1, b"\1" * 64)
PAYLOAD = element(0, b"payload")


class Greedy:
    """A stream without end, that counts what is read."""

    def __init__(self, start: bytes) -> None:
        self.start, self.given, self.largest = BytesIO(start), 0, 0

    def read(self, size: int, /) -> bytes:
        self.largest = max(self.largest, size)
        part = self.start.read(size) or bytes(size)
        self.given += len(part)
        return part


class TestReadHeader:
    def test_reads_every_field_of_a_header_written_out_by_hand(self) -> None:
        written = bytes.fromhex(
            "1ef1ee0b 0001 4500 0700 a110 0100 03020100 0200" + b"Hub image".hex().ljust(64, "0") + "45000000"
            "07 0102030405060708 0100 ff00"
        )

        found = images.read_header(BytesIO(written))

        assert found == images.ImageHeader(
            header_length=69,
            field_control=7,
            manufacturer=0x10A1,
            image_type=0x0001,
            version=0x00010203,
            stack_version=2,
            text="Hub image",
            total_size=69,
            credential_version=7,
            destination=bytes(range(1, 9)),
            minimum_hardware=1,
            maximum_hardware=0xFF,
        )

    def test_leaves_out_the_hardware_range_where_the_field_control_does(self) -> None:
        found = images.read_header(BytesIO(header(control=0, length=56)))

        assert (found.minimum_hardware, found.maximum_hardware) == (None, None)

    @given(
        manufacturer=st.integers(0, 0xFFFF),
        image_type=st.integers(0, 0xFFFF),
        version=st.integers(0, 0xFFFFFFFF),
        hardware=st.none() | st.lists(st.integers(0, 0xFFFF), min_size=2, max_size=2).map(sorted),
        payload=st.integers(1, 300),
    )
    def test_reads_back_what_was_built(
        self, manufacturer: int, image_type: int, version: int, hardware: list[int] | None, payload: int
    ) -> None:
        low, high = hardware or (None, None)
        blueprint = images.Blueprint(
            manufacturer=manufacturer,
            image_type=image_type,
            version=version,
            payload=payload,
            minimum_hardware=low,
            maximum_hardware=high,
            text="A text",
        )

        found = images.inspect(BytesIO(images.build(blueprint=blueprint, seed=2, key=KEY)), LIMIT)

        assert (
            found.header.manufacturer,
            found.header.image_type,
            found.header.version,
            found.header.minimum_hardware,
            found.header.maximum_hardware,
            found.header.text,
            found.elements[0].length,
            found.size,
        ) == (manufacturer, image_type, version, low, high, "A text", payload, blueprint.size)

    @pytest.mark.parametrize("content", [b"", b"\x1e", b"%PDF-1.7 " * 20, b"\0" * 60, IMAGE[:55], IMAGE[:59]])
    def test_refuses_what_is_no_image(self, content: bytes) -> None:
        with pytest.raises(images.NotAnImage) as refusal:
            images.read_header(BytesIO(content))

        assert refusal.value.field == "file"

    @pytest.mark.parametrize(
        ("written", "field", "wanted", "found"),
        [
            (header(header_version=0x0200), "header version", "0100", "0200"),
            (header(control=8), "field control", "0000 to 0007", "0008"),
            (header(length=56), "header length", "60", "56"),
            (header(length=65535), "header length", "60", "65535"),
            (header(low=2, high=1), "hardware range", "the lowest first", "0002 to 0001"),
        ],
    )
    def test_names_the_field_that_cannot_be(
        self, written: bytes, field: str, wanted: str, found: str
    ) -> None:
        with pytest.raises(images.ImageFault) as refusal:
            images.read_header(BytesIO(written))

        assert (refusal.value.field, refusal.value.wanted, refusal.value.found) == (field, wanted, found)


class TestInspect:
    def test_returns_hash_size_and_elements(self) -> None:
        found = images.inspect(BytesIO(IMAGE), LIMIT)

        assert found.digest == hashlib.sha256(IMAGE).hexdigest()
        assert found.size == len(IMAGE)
        assert found.elements == (images.Element(0, 66, 900), images.Element(1, 972, 64))

    def test_takes_a_file_of_exactly_the_limit(self) -> None:
        assert images.inspect(BytesIO(IMAGE), len(IMAGE)).size == len(IMAGE)

    @pytest.mark.parametrize(
        ("content", "field"),
        [
            pytest.param(IMAGE[:-1], "size", id="truncated in the signature"),
            pytest.param(IMAGE[:500], "size", id="truncated in the image"),
            pytest.param(IMAGE[:62], "size", id="truncated in an element's head"),
            pytest.param(IMAGE + b"\0", "size", id="one byte too many"),
            pytest.param(header(size=60), "elements", id="no element"),
            pytest.param(image_of(SIGNATURE), "elements", id="no image"),
            pytest.param(image_of(PAYLOAD), "signature", id="no signature"),
            pytest.param(image_of(SIGNATURE, PAYLOAD), "elements", id="signature first"),
            pytest.param(image_of(PAYLOAD, SIGNATURE, SIGNATURE), "signature", id="two signatures"),
            pytest.param(image_of(PAYLOAD, PAYLOAD, SIGNATURE), "elements", id="two images"),
            pytest.param(image_of(element(0, b""), SIGNATURE), "elements", id="empty image"),
            pytest.param(image_of(PAYLOAD, element(1, b"\1" * 63)), "signature", id="short signature"),
            pytest.param(image_of(PAYLOAD, element(1, bytes(64))), "signature", id="signature of zeros"),
            pytest.param(image_of(PAYLOAD, element(1, b"\xff" * 64)), "signature", id="beyond the order"),
            pytest.param(
                header(size=200) + struct.pack("<HI", 0, 0xFFFFFFFF) + bytes(134),
                "elements",
                id="huge element",
            ),
            pytest.param(header(size=0xFFFFFFFF) + BODY, "size", id="huge file"),
            pytest.param(header(size=10) + BODY, "size", id="file smaller than its header"),
        ],
    )
    def test_names_what_does_not_hold_together(self, content: bytes, field: str) -> None:
        with pytest.raises(images.ImageFault) as refusal:
            images.inspect(BytesIO(content), LIMIT)

        assert refusal.value.field == field
        assert refusal.value.wanted
        assert refusal.value.found

    def test_passes_over_elements_that_it_does_not_know(self) -> None:
        found = images.inspect(BytesIO(image_of(PAYLOAD, element(0xF001, b"more"), SIGNATURE)), LIMIT)

        assert [part.tag for part in found.elements] == [0, 0xF001, 1]

    @pytest.mark.parametrize(
        "start", [IMAGE, header(size=0xFFFFFFFF), header(size=LIMIT) + struct.pack("<HI", 0, LIMIT - 66)]
    )
    def test_stops_reading_soon_after_the_limit(self, start: bytes) -> None:
        stream = Greedy(start)

        with pytest.raises(images.ImageFault):
            images.inspect(stream, LIMIT)

        assert stream.given <= LIMIT + 2 * 64 * 1024
        assert stream.largest <= 64 * 1024

    @given(st.integers(0, len(IMAGE) * 8 - 1))
    def test_never_lets_a_flipped_bit_pass_for_the_same_image(self, bit: int) -> None:
        flipped = bytearray(IMAGE)
        flipped[bit // 8] ^= 1 << bit % 8

        try:
            found = images.inspect(BytesIO(bytes(flipped)), LIMIT)
        except images.ImageFault:
            return

        assert found.digest != hashlib.sha256(IMAGE).hexdigest()

    @given(st.integers(0, len(IMAGE) - 1))
    def test_refuses_every_truncation(self, length: int) -> None:
        with pytest.raises(images.ImageFault):
            images.inspect(BytesIO(IMAGE[:length]), LIMIT)

    @given(
        st.binary(max_size=300)
        | st.binary(max_size=300).map(lambda tail: header() + tail)
        | st.tuples(st.integers(0, 0xFFFFFFFF), st.binary(max_size=200)).map(
            lambda claim: header(size=claim[0]) + claim[1]
        )
    )
    def test_either_understands_or_refuses_with_a_fault(self, content: bytes) -> None:
        size: int | None = None
        with contextlib.suppress(images.ImageFault):
            size = images.inspect(BytesIO(content), LIMIT).size

        assert size in (None, len(content))


class TestCompare:
    CLAIM = images.Claim(
        digest=hashlib.sha256(IMAGE).hexdigest(),
        version=0x00010203,
        minimum_hardware=1,
        maximum_hardware=0xFF,
        models=[images.CoveredModel("Hub A", 0x10A1, 1)],
    )

    def test_finds_nothing_to_differ_in_what_was_copied_from_the_image(self) -> None:
        checks = images.compare(
            image=images.inspect(BytesIO(IMAGE), LIMIT), claim=self.CLAIM, size_limit=LIMIT
        )

        assert [check.label for check in checks if not check.agrees] == []
        assert len(checks) == 6

    @pytest.mark.parametrize(
        ("typed", "field", "typed_value", "found_value"),
        [
            ({"digest": "0" * 64}, "digest", "0" * 64, hashlib.sha256(IMAGE).hexdigest()),
            ({"version": 0x00010204}, "version", "00010204", "00010203"),
            ({"minimum_hardware": 2}, "hardware", "0002 to 00FF", "0001 to 00FF"),
            ({"maximum_hardware": 0xFE}, "hardware", "0001 to 00FE", "0001 to 00FF"),
            ({"models": [images.CoveredModel("B", 0x10A2, 1)]}, "hub_models", "10A2", "10A1"),
            ({"models": [images.CoveredModel("C", 0x10A1, 2)]}, "hub_models", "0002", "0001"),
        ],
    )
    def test_names_the_field_and_both_values(
        self, typed: dict[str, object], field: str, typed_value: str, found_value: str
    ) -> None:
        claim = images.Claim(**{name: getattr(self.CLAIM, name) for name in images.Claim.__slots__} | typed)  # type: ignore[arg-type]

        checks = compared(IMAGE, claim)

        differing = [check for check in checks if not check.agrees]
        assert [(check.field, check.typed, check.found) for check in differing] == [
            (field, typed_value, found_value)
        ]
        assert typed_value in differing[0].message
        assert found_value in differing[0].message

    def test_leaves_the_hardware_range_to_the_cpl_where_the_image_states_none(self) -> None:
        blueprint = images.Blueprint(manufacturer=0x10A1, image_type=1, version=0x00010203, payload=5)
        built = images.build(blueprint=blueprint, seed=1, key=KEY)

        checks = images.compare(
            image=images.inspect(BytesIO(built), LIMIT), claim=self.CLAIM, size_limit=LIMIT
        )

        assert [check.agrees for check in checks if check.field == "hardware"] == [True]


class TestBuild:
    def test_gives_the_same_image_but_for_the_signature(self) -> None:
        again = images.build(blueprint=BLUEPRINT, seed=1, key=KEY)

        assert again[:-64] == IMAGE[:-64]
        assert images.build(blueprint=BLUEPRINT, seed=2, key=KEY)[:-64] != IMAGE[:-64]

    def test_signs_everything_before_the_signature_element(self) -> None:
        from_bytes = int.from_bytes
        r, s = from_bytes(IMAGE[-64:-32], "big"), from_bytes(IMAGE[-32:], "big")

        KEY.public_key().verify(encode_dss_signature(r, s), IMAGE[:-70], ec.ECDSA(hashes.SHA256()))

    @pytest.mark.parametrize("size", [200, 750_000])
    def test_fills_the_size_that_was_asked_for(self, size: int) -> None:
        assert len(images.build(blueprint=BLUEPRINT.resized(size), seed=1, key=KEY)) == size

    def test_refuses_a_size_that_holds_no_image(self) -> None:
        with pytest.raises(ValueError, match="more than 136 bytes"):
            BLUEPRINT.resized(136)
