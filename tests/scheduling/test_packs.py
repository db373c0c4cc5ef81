"""Evidence packs: what is in one, and that nothing about it can be changed unseen."""

import csv
import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import IO

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.management import CommandError, call_command
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from hubs.models import CommunicationsHub
from portal.ground import sql
from portal.ground.models import AuditEntry
from scheduling import packs
from scheduling.lifecycle import Ending, State
from scheduling.models import Booking, Cohort
from scheduling.operations import halts
from scheduling.operations import packs as making
from scheduling.operations.asked_rehearsals import digest_of, finish
from tests.scheduling import world as worlds
from tests.scheduling.test_asked_rehearsals import FOUND
from tests.scheduling.test_asked_rehearsals import taken as taken_up
from tests.scheduling.test_early_warning import activate, end, stage
from tests.scheduling.world import World

SIGNER = packs.private_key(text="a1" * 32)
KEY = SIGNER.public_key()
FILES = {
    "report.html": b"<p>What happened.</p>",
    "bookings.csv": b"reference,hubs\r\n" + b"BK-2222-2222,1000\r\n" * 200,
    "empty.csv": b"",
}
LINES = [packs.as_line(entry={"id": number, "verb": "release.halted"}) for number in (3, 5, 8)]


def sealed(files: Mapping[str, bytes] = FILES, *, signer: Ed25519PrivateKey = SIGNER) -> bytes:
    """Make a pack of some files, and of three decisions."""
    file = io.BytesIO()
    with packs.Pack(file=file) as pack:
        for name, content in files.items():
            with pack.add(name=name) as part:
                part.write(content[:7])
                part.write(content[7:])
        with pack.add(name=packs.DECISIONS) as part:
            for line in LINES:
                part.write(line + b"\n")
        number, head = packs.chained(lines=LINES)
        pack.seal(facts={"decisions": {"entries": number, "head": head}}, key=signer)
    return file.getvalue()


def unpacked(content: bytes) -> dict[str, bytes]:
    """Return the files of a pack."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: Mapping[str, bytes]) -> bytes:
    """Put files into an archive, as whoever forges a pack would."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def differences(content: bytes) -> list[str]:
    """Return what is found to differ in a pack."""
    verdict = packs.verify(file=io.BytesIO(content), key=KEY)
    found = [finding.words for finding in verdict.findings if not finding.holds]
    assert verdict.holds == (not found)
    return found


class TestVerify:
    def test_finds_nothing_in_what_was_signed(self) -> None:
        verdict = packs.verify(file=io.BytesIO(sealed()), key=KEY)

        assert verdict.holds
        assert [finding.words.split(":")[0] for finding in verdict.findings] == [
            "The signature holds",
            "All 4 files that manifest.json names are there, and no other.",
            "'bookings.csv' is unchanged",
            "'decisions.jsonl' is unchanged",
            "'empty.csv' is unchanged",
            "'report.html' is unchanged",
            f"The chain of 3 decisions ends in {packs.chained(lines=LINES)[1]}, as manifest.json says.",
        ]

    def test_does_not_mind_how_the_files_are_wrapped(self) -> None:
        assert differences(packed(unpacked(sealed()))) == []

    @pytest.mark.parametrize("name", [*FILES, packs.DECISIONS, packs.MANIFEST, packs.SIGNATURE])
    def test_finds_a_bit_that_was_flipped_in_each_file(self, name: str) -> None:
        files = unpacked(sealed())
        flipped = bytearray(files[name] or b"\0")
        flipped[len(flipped) // 2] ^= 0x01

        found = differences(packed(files | {name: bytes(flipped)}))

        assert found
        assert all(
            name in words or "signature does not hold" in words or name == packs.DECISIONS for words in found
        )

    @given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def test_holds_for_no_other_content_whatever_bit_is_flipped(self, place: float, bit: int) -> None:
        whole = sealed()
        flipped = bytearray(whole)
        flipped[int(place * len(whole))] ^= 1 << bit

        verdict = packs.verify(file=io.BytesIO(bytes(flipped)), key=KEY)

        assert not verdict.holds or unpacked(bytes(flipped)) == unpacked(whole)

    @given(st.binary(max_size=300))
    def test_holds_for_nothing_that_somebody_makes_up(self, content: bytes) -> None:
        assert differences(content)
        assert differences(packed(unpacked(sealed()) | {packs.MANIFEST: content}))

    def test_finds_files_that_are_missing_or_were_added(self) -> None:
        files = unpacked(sealed())
        without = {name: content for name, content in files.items() if name != "report.html"}

        assert differences(packed(without)) == ["'report.html' is missing: manifest.json names it."]
        assert differences(packed(files | {"../../etc/passwd": b"root"})) == [
            "'../../etc/passwd' was added: manifest.json does not name it."
        ]

    def test_finds_files_that_changed_places(self) -> None:
        files = unpacked(sealed())
        swapped = files | {"report.html": files["bookings.csv"], "bookings.csv": files["report.html"]}

        assert len(differences(packed(swapped))) == 2

    def test_finds_the_manifest_of_another_pack(self) -> None:
        other = unpacked(sealed(FILES | {"report.html": b"<p>All was well.</p>"}))
        files = unpacked(sealed())

        [words] = differences(packed(files | {packs.MANIFEST: other[packs.MANIFEST]}))
        assert "The signature does not hold" in words
        both = {name: other[name] for name in (packs.MANIFEST, packs.SIGNATURE)}
        [words] = differences(packed(files | both))
        assert words.startswith("'report.html' differs")

    def test_finds_that_somebody_else_signed(self) -> None:
        [words] = differences(sealed(signer=packs.private_key(text="b2" * 32)))

        assert "signed with another key than" in words
        assert packs.as_digits(key=KEY) in words

    @pytest.mark.parametrize("name", [packs.MANIFEST, packs.SIGNATURE])
    def test_takes_nothing_for_a_pack_that_nobody_signed(self, name: str) -> None:
        files = {key: content for key, content in unpacked(sealed()).items() if key != name}

        [words] = differences(packed(files))

        assert words.endswith("it is no pack.")

    def test_finds_decisions_that_are_no_chain(self) -> None:
        file = io.BytesIO()
        with packs.Pack(file=file) as pack:
            with pack.add(name=packs.DECISIONS) as part:
                part.write(b"".join(line + b"\n" for line in reversed(LINES)))
            pack.seal(facts={"decisions": {"entries": 3, "head": packs.chained(lines=LINES)[1]}}, key=SIGNER)

        [words] = differences(file.getvalue())

        assert "ends elsewhere" in words

    def test_finds_what_was_put_before_or_behind_the_archive(self) -> None:
        commented = io.BytesIO(sealed())
        with zipfile.ZipFile(commented, "a") as archive:
            archive.comment = b"All was well."

        assert len(differences(b"PK" + sealed())) == 1
        assert len(differences(commented.getvalue())) == 1

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_takes_no_two_files_of_one_name(self) -> None:
        twice = io.BytesIO(sealed())
        with zipfile.ZipFile(twice, "a") as archive:
            archive.writestr("report.html", FILES["report.html"])

        [words] = differences(twice.getvalue())

        assert "two files of one name" in words

    def test_reads_no_more_of_a_bomb_than_was_signed(self) -> None:
        files = unpacked(sealed())
        bomb = packed(files | {"report.html": b"\0" * 60_000_000})
        assert len(bomb) < 100_000

        [words] = differences(bomb)

        assert words == f"'report.html' differs: it has more than {len(FILES['report.html'])} bytes."

    @pytest.mark.parametrize("name", [packs.MANIFEST, packs.SIGNATURE])
    def test_reads_no_bomb_for_what_is_signed(self, name: str) -> None:
        [words] = differences(packed(unpacked(sealed()) | {name: b" " * 60_000_000}))

        assert "too large" in words

    def test_opens_no_more_files_than_a_pack_can_have(self) -> None:
        [words] = differences(packed(unpacked(sealed()) | {f"{number}": b"" for number in range(100)}))

        assert "at most" in words

    @pytest.mark.parametrize(
        "manifest",
        [
            b"",
            b"[]",
            b"[" * 100_000,
            b"{}",
            b'{"format": "another/2", "files": {}}',
            b'{"format": "%b", "files": []}' % packs.FORMAT.encode(),
            b'{"format": "%b", "files": {"a": {"bytes": -1, "sha256": "%b"}}}'
            % (packs.FORMAT.encode(), b"0" * 64),
            b'{"format": "%b", "files": {"a": {"bytes": 1e18, "sha256": "%b"}}}'
            % (packs.FORMAT.encode(), b"0" * 64),
        ],
    )
    def test_reads_no_files_for_a_manifest_that_it_does_not_know(self, manifest: bytes) -> None:
        content = packed({packs.MANIFEST: manifest, packs.SIGNATURE: SIGNER.sign(manifest)})

        [words] = differences(content)

        assert "cannot be read" in words


class TestPublicKey:
    def test_is_read_from_its_pem_and_from_its_digits(self) -> None:
        for text in (packs.as_pem(key=KEY), packs.as_digits(key=KEY), f" {packs.as_digits(key=KEY)}\n"):
            assert packs.as_digits(key=packs.public_key(text=text)) == packs.as_digits(key=KEY)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "a1" * 31,
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            ec.generate_private_key(ec.SECP256R1())
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            .decode(),
        ],
    )
    def test_is_nothing_else(self, text: str) -> None:
        with pytest.raises(packs.NoKey, match="no public key of an evidence pack"):
            packs.public_key(text=text)


class TestPrivateKey:
    @pytest.mark.parametrize("text", ["", "a1" * 33, "zz" * 32])
    def test_is_64_hexadecimal_digits(self, text: str) -> None:
        with pytest.raises(packs.NoKey, match="64 hexadecimal digits"):
            packs.private_key(text=text)


def rolled_out(world: World) -> World:
    """Let fifty hubs be activated, fifteen fail, the release halt by itself, and two people resume it."""
    world.release.policy.tolerated_bad_percent = "0.75"
    world.release.policy.save()
    stage(world, 60)
    activate(50)
    end(15, world=world, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
    end(5, world=world, state=State.SUCCEEDED)
    assert halts.watch(now=world.clock()) == 1
    world.clock.move(minutes=10)
    world.resume(reason="=Known, and left out")
    return world


@pytest.fixture
def taken(transactional_db: None, now: datetime) -> Iterator[tuple[World, IO[bytes]]]:
    """The pack of a release that halted and was resumed."""
    world = rolled_out(worlds.make(now=now))
    with tempfile.NamedTemporaryFile(suffix=".zip") as file:
        making.make(release=world.release, file=file.file, by=world.staff, now=world.clock())
        file.flush()
        yield world, file


def leave_some_unplaced() -> None:
    """Change the booking, in a connection of its own."""
    Booking.objects.update(unplaced=77)
    connection.close()


def table(files: Mapping[str, bytes], name: str) -> list[dict[str, str]]:
    """Return the rows of a table in a pack."""
    return list(csv.DictReader(io.StringIO(files[name].decode(), newline="")))


class TestMake:
    def test_holds_the_report_and_the_rows_behind_it(self, taken: tuple[World, IO[bytes]]) -> None:
        world, file = taken
        file.seek(0)
        files = unpacked(file.read())

        assert set(files) == {
            *("report.html", "release.json", "rehearsals.json", "bookings.csv", "evidence.csv", "people.csv"),
            *(packs.DECISIONS, packs.MANIFEST, packs.SIGNATURE),
        }
        manifest = json.loads(files[packs.MANIFEST])
        assert manifest["cpl_entry_id"] == world.release.cpl_entry_id
        assert manifest["made_at"] == world.clock().isoformat()
        for name, said in manifest["files"].items():
            assert said == {"bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
        facts = json.loads(files["release.json"])
        [halt] = facts["halts"]
        assert halt["commanded"] == 50
        assert halt["lifted_by_id"] == world.staff.pk
        assert halt["facts"]["streams"][0]["bad"] == 15
        [outcome] = facts["outcomes"]
        assert (outcome["failed"], outcome["succeeded"], outcome["waiting"]) == (15, 5, 30)
        assert facts["policy"]["tolerated_bad_percent"] == "0.75"
        assert facts["in_common"]["bad"] == 15
        assert {line["kind"] for line in facts["in_common"]["lines"]} == set(Cohort.Kind.labels)
        [booking] = table(files, "bookings.csv")
        assert booking["reference"] == Booking.objects.get().reference
        assert (booking["hubs"], booking["failed"], booking["activating"]) == ("60", "15", "30")
        seen = table(files, "evidence.csv")
        assert {row["hubs"] for row in seen} == {f"Model {world.model}", f"Network {world.network}"}
        assert all(row["bad"] == "15" and float(row["share_of_limit"]) >= 1 for row in seen)
        assert {row["email"] for row in table(files, "people.csv")} == {
            *(world.staff.email, world.approver.email, world.person.email)
        }

    def test_holds_what_was_rehearsed_with_the_hash_that_is_on_record(
        self, transactional_db: None, now: datetime
    ) -> None:
        world = worlds.make(now=now)
        rehearsal = taken_up(world, percent=Decimal("2.5"), network=world.network)
        finish(rehearsal=rehearsal.pk, token=1, result=FOUND, now=world.clock())
        file = io.BytesIO()
        making.make(release=world.release, file=file, by=world.staff, now=world.clock())
        files = unpacked(file.getvalue())

        [kept] = json.loads(files["rehearsals.json"])
        assert kept["percent"] == "2.500"
        assert kept["network"] == world.network.code
        assert kept["plan"] == {"of": "it"}
        assert kept["in_words"].startswith("It halts by itself after 42.5 hours on average")
        assert "token" not in kept
        assert kept["digest"] == digest_of(result=kept["result"])
        recorded = [json.loads(line) for line in packs.lines(file=file)]
        [entry] = [entry for entry in recorded if entry["verb"] == "release.rehearsed"]
        assert entry["facts"]["result_sha256"] == kept["digest"]
        assert kept["in_words"] in " ".join(files["report.html"].decode().split())

    def test_holds_every_decision_about_the_release_and_its_bookings(
        self, taken: tuple[World, IO[bytes]]
    ) -> None:
        world, file = taken
        entries = [json.loads(line) for line in packs.lines(file=file)]

        assert [entry["id"] for entry in entries] == sorted(entry["id"] for entry in entries)
        assert {entry["subject"] for entry in entries} == {
            f"release:{world.release.pk}",
            f"booking:{Booking.objects.get().reference}",
        }
        assert {"release.published", "release.halted", "release.resumed", "booking.placed"} <= {
            entry["verb"] for entry in entries
        }

    def test_holds_a_page_that_needs_nothing_else(self, taken: tuple[World, IO[bytes]]) -> None:
        world, file = taken
        file.seek(0)
        page = unpacked(file.read())["report.html"].decode()

        assert "<script" not in page
        assert "href=" not in page
        assert "src=" not in page
        assert "url(" not in page
        assert "@import" not in page
        assert page.count("<polyline") == 2
        assert "<details" in page
        assert 'id="numbers-' in page.partition("<details")[2].partition(" open>")[0]
        assert "50 hubs had been commanded to activate." in " ".join(page.split())
        assert "=Known, and left out" in page
        assert world.release.digest in page

    def test_names_no_hub(self, taken: tuple[World, IO[bytes]]) -> None:
        _, file = taken
        file.seek(0)
        whole = b"".join(unpacked(file.read()).values()).decode(errors="replace").upper()

        for hub in CommunicationsHub.objects.all():
            assert f"{hub.chf_id % 2**64:016X}" not in whole.replace("-", "")
            assert str(hub.chf_id) not in whole

    def test_is_put_on_record(self, taken: tuple[World, IO[bytes]]) -> None:
        world, file = taken
        file.seek(0)
        files = unpacked(file.read())

        entry = AuditEntry.objects.get(verb="release.evidence_taken")

        assert entry.actor == world.staff
        assert entry.subject == f"release:{world.release.pk}"
        assert entry.facts["manifest"] == hashlib.sha256(files[packs.MANIFEST]).hexdigest()

    def test_names_the_roles_of_who_decided(self, taken: tuple[World, IO[bytes]]) -> None:
        _, file = taken
        file.seek(0)
        files = unpacked(file.read())
        decided = [json.loads(line) for line in files[packs.DECISIONS].splitlines()]

        assert all((entry["actor"] is None) == ("role" not in entry) for entry in decided)
        assert "superuser" in {entry.get("role") for entry in decided}
        assert "DCC: Superuser" in files["report.html"].decode()

    def test_is_of_one_moment(self, taken: tuple[World, IO[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
        """What commits while the pack is being made is not in it, also where it is read after that."""
        world, _ = taken
        rest = making._write_decisions

        def meanwhile(*words: object) -> object:
            written = rest(*words)  # type: ignore[arg-type]
            with ThreadPoolExecutor(1) as elsewhere:
                elsewhere.submit(leave_some_unplaced).result()
            return written

        monkeypatch.setattr(making, "_write_decisions", meanwhile)
        file = io.BytesIO()

        making.make(release=world.release, file=file, by=world.staff, now=world.clock())

        [booking] = table(unpacked(file.getvalue()), "bookings.csv")
        assert booking["unplaced"] == "0"
        assert Booking.objects.get().unplaced == 77


def verify(file: IO[bytes], *words: str) -> str:
    """Run the command; return what it said."""
    said = io.StringIO()
    call_command("verify_evidence", file.name, *words, stdout=said)
    return said.getvalue()


def refused(file: IO[bytes], *words: str) -> str:
    """Run the command, which ends with 1; return what it said."""
    said = io.StringIO()
    with pytest.raises(CommandError) as refusal:
        call_command("verify_evidence", file.name, *words, stdout=said)
    assert refusal.value.returncode == 1
    return f"{said.getvalue()}{refusal.value}"


def bend(statement: str) -> None:
    """Change the audit as only the owner of its table can."""
    for words in ("DISABLE TRIGGER USER", "ENABLE TRIGGER USER"):
        sql.run(f"ALTER TABLE ground_auditentry {words}", {})
        if words.startswith("DISABLE"):
            sql.run(statement, {})


class TestVerifyEvidence:
    def test_says_what_it_checked(self, taken: tuple[World, IO[bytes]]) -> None:
        _, file = taken

        said = verify(file)

        assert "Holds: The signature holds" in said
        assert "Holds: All 7 files that manifest.json names are there, and no other." in said
        assert "Holds: 'report.html' is unchanged" in said
        assert "Holds: The audit still has all" in said
        assert "DIFFERS" not in said
        assert said.endswith("The pack is what was signed.\n")

    def test_goes_on_holding_while_the_audit_grows(self, taken: tuple[World, IO[bytes]]) -> None:
        world, file = taken
        making.make(release=world.release, file=io.BytesIO(), by=world.staff, now=world.clock())

        assert "The audit still has all" in verify(file)

    def test_finds_a_file_that_was_changed(self, taken: tuple[World, IO[bytes]]) -> None:
        _, file = taken
        file.seek(0)
        files = unpacked(file.read())
        file.seek(0)
        file.truncate()
        file.write(packed(files | {"evidence.csv": files["evidence.csv"].replace(b",15,", b",05,")}))
        file.flush()

        said = refused(file)

        assert "DIFFERS: 'evidence.csv' differs: its " in said
        assert "1 of " in said
        assert "Do not rely on it." in said
        assert "The audit still has" not in said

    def test_finds_a_decision_that_was_changed_in_the_audit(self, taken: tuple[World, IO[bytes]]) -> None:
        _, file = taken
        entry = AuditEntry.objects.get(verb="release.halted")

        bend("UPDATE ground_auditentry SET reason = 'All was well.' WHERE verb = 'release.halted'")

        assert f"Decision {entry.pk} of the pack was changed in the audit" in refused(file)
        assert "The audit" not in verify(file, "--file-only")

    def test_finds_a_decision_that_is_gone_from_the_audit(self, taken: tuple[World, IO[bytes]]) -> None:
        _, file = taken
        entry = AuditEntry.objects.get(verb="release.halted")

        bend("DELETE FROM ground_auditentry WHERE verb = 'release.halted'")

        assert f"Decision {entry.pk} of the pack is not in the audit" in refused(file)

    def test_takes_another_key_as_digits_and_as_a_file(
        self, taken: tuple[World, IO[bytes]], tmp_path: Path, settings: Settings
    ) -> None:
        _, file = taken
        public = packs.private_key(text=settings.EVIDENCE_KEY).public_key()
        pem = tmp_path / "evidence-key.pem"
        pem.write_text(packs.as_pem(key=public))
        settings.EVIDENCE_KEY = "c3" * 32

        assert "signed with another key" in refused(file)
        assert "The signature holds" in verify(file, "--key", packs.as_digits(key=public))
        assert "The signature holds" in verify(file, "--key", str(pem))

    @pytest.mark.parametrize("key", ["", "guess", "/"])
    def test_says_what_a_key_is(self, key: str, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match=r"The key cannot be used\. That is no public key"):
            call_command("verify_evidence", str(tmp_path / "pack.zip"), "--key", key)

    def test_says_that_there_is_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match=r"cannot be read: No such file or directory\."):
            call_command("verify_evidence", str(tmp_path / "pack.zip"))

    def test_says_that_a_file_is_no_pack(self, tmp_path: Path) -> None:
        (tmp_path / "pack.zip").write_bytes(b"PK")
        with (tmp_path / "pack.zip").open("rb") as file:
            assert "it is no ZIP archive that can be read" in refused(file)
