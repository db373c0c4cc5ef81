"""Uploading releases, and changing them."""

import errno
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest

from firmware import images
from firmware.models import FirmwareRelease, ReleaseState, SignedAct, SignOff, Urgency
from firmware.operations import decisions, releases, stored_images
from hubs.models import FirmwareVersion, HubModel
from portal.ground.models import AuditEntry
from portal.ground.uk_time import Span
from portal.models import User
from tests.factories import HubModelFactory
from tests.firmware.conftest import BLUEPRINT, KEY

pytestmark = pytest.mark.django_db
Build = Callable[..., releases.Particulars]


def upload(stated: releases.Particulars, content: bytes, author: User, now: datetime) -> FirmwareRelease:
    return releases.upload(particulars=stated, content=BytesIO(content), author=author, now=now)


class TestUpload:
    def test_makes_a_draft_with_everything_that_was_stated(
        self,
        particulars: Build,
        content: bytes,
        author: User,
        now: datetime,
        model: HubModel,
        media_root: Path,
    ) -> None:
        release = upload(particulars(), content, author, now)

        release.refresh_from_db()
        assert (release.state, release.revision, release.author) == (ReleaseState.DRAFT, 1, author)
        assert (release.manufacturer, release.image_type, release.size) == (0x10A1, 1, len(content))
        assert release.version == FirmwareVersion.objects.get(number=0x00010203)
        assert list(release.hub_models.all()) == [model]
        assert [step.version.number for step in release.predecessors.all()] == [0x00010202]
        assert release.periods.get().start_at.month == 12
        assert release.policy.notice_before_opening == Span(20, "working days")
        assert release.policy.stage_sizes == [50, 500, 5_000, 50_000]
        assert (media_root / f"images/{release.digest[:2]}/{release.digest}.ota").read_bytes() == content
        entry = AuditEntry.objects.get()
        assert (entry.actor, entry.verb, entry.recorded_at) == (author, "release.uploaded", now)
        assert entry.facts["SHA-256"] == release.digest

    def test_takes_the_figures_of_an_urgent_release(
        self, particulars: Build, content: bytes, author: User, now: datetime
    ) -> None:
        release = releases.upload(
            particulars=particulars(
                urgency=Urgency.URGENT, urgency_reason="A leak.", policy={"minimum_period": Span(3, "days")}
            ),
            content=BytesIO(content),
            author=author,
            now=now,
        )

        policy = release.policy
        assert policy.notice_before_opening == Span(5, "working days")
        assert policy.minimum_period == Span(3, "days")
        assert (policy.default_allocation_percent, policy.default_allocation_notice) == (
            33,
            Span(2, "working days"),
        )

    @pytest.mark.parametrize(
        ("typed", "field", "values"),
        [
            ({"digest": "ab" * 32}, "digest", ["ab" * 32]),
            ({"version": 0x00010204}, "version", ["00010204", "00010203"]),
            ({"minimum_hardware": 0}, "hardware", ["0000 to 00FF", "0001 to 00FF"]),
            ({"hub_models": []}, "hub_models", ["at least one"]),
            ({"predecessors": [releases.Step(version=0x00010203)]}, "predecessors", ["not older"]),
            ({"predecessors": [releases.Step(version=1)] * 2}, "predecessors", ["named twice"]),
            ({"has_no_predecessor": True}, "predecessors", ["Either"]),
            ({"policy": {"grace": "soon"}}, "policy", ["“soon” is not a span"]),
            ({"policy": {"reserve_percent": 101}}, "policy", ["policy_percentages_at_most_100"]),
        ],
    )
    def test_refuses_what_does_not_agree_naming_field_and_values(
        self,
        typed: dict[str, object],
        field: str,
        values: list[str],
        particulars: Build,
        content: bytes,
        author: User,
        now: datetime,
    ) -> None:
        with pytest.raises(releases.UnableToUpload) as refusal:
            releases.upload(
                particulars=particulars(**typed), content=BytesIO(content), author=author, now=now
            )

        assert list(refusal.value.faults) == [field]
        for value in values:
            assert value in str(refusal.value)
        assert not FirmwareRelease.objects.exists()
        assert not AuditEntry.objects.exists()

    def test_refuses_a_wrong_model_naming_both_codes(
        self, particulars: Build, content: bytes, author: User, now: datetime
    ) -> None:
        other = HubModelFactory(manufacturer=0x20B2, image_type=0x0002)

        with pytest.raises(releases.UnableToUpload) as refusal:
            releases.upload(
                particulars=particulars(hub_models=[other]), content=BytesIO(content), author=author, now=now
            )

        assert [value in str(refusal.value) for value in ("20B2", "10A1", "0002", "0001")] == [True] * 4

    def test_refuses_an_image_with_one_flipped_bit(
        self, particulars: Build, content: bytes, author: User, now: datetime, media_root: Path
    ) -> None:
        flipped = bytearray(content)
        flipped[500] ^= 1

        with pytest.raises(releases.UnableToUpload) as refusal:
            releases.upload(
                particulars=particulars(), content=BytesIO(bytes(flipped)), author=author, now=now
            )

        assert list(refusal.value.faults) == ["digest"]
        assert images.digest_of([content]) in str(refusal.value)
        assert images.digest_of([bytes(flipped)]) in str(refusal.value)
        assert list(media_root.iterdir()) == []

    def test_refuses_two_megabytes_and_what_is_no_image(
        self, particulars: Build, author: User, now: datetime
    ) -> None:
        large = images.build(blueprint=BLUEPRINT.resized(2_000_000), seed=1, key=KEY)

        for content, sentence in ((large, "750,000 bytes"), (b"MZ" * 400, "not a firmware image")):
            with pytest.raises(releases.UnableToUpload, match=sentence) as refusal:
                upload(particulars(), content, author, now)
            assert list(refusal.value.faults) == ["file"]


class TestChange:
    def test_goes_back_to_draft_with_a_new_revision_and_no_sign_off(
        self,
        particulars: Build,
        content: bytes,
        author: User,
        manager: User,
        approver: User,
        now: datetime,
    ) -> None:
        release = upload(particulars(), content, author, now)
        decisions.submit(release=release, by=author, now=now)
        decisions.sign_off(
            release=release,
            act=SignedAct.PUBLISH,
            revision=1,
            digest=release.digest,
            by=approver,
            now=now,
        )

        changed = releases.change(
            release=release,
            revision=1,
            particulars=particulars(notes="Mends two clocks.", periods=[]),
            content=None,
            by=manager,
            now=now + timedelta(hours=1),
        )

        assert (changed.state, changed.revision, changed.notes) == ("draft", 2, "Mends two clocks.")
        assert (changed.submitter, changed.submitted_at) == (None, None)
        assert not changed.periods.exists()
        assert SignOff.objects.get().voided_at == now + timedelta(hours=1)
        with pytest.raises(decisions.UnableToPublish):
            decisions.publish(release=release, by=author, now=now)
        facts = AuditEntry.objects.latest("pk").facts
        assert facts["voided sign-offs"] == 1
        before, after = facts["before"], facts["after"]
        assert {name for name in after if before[name] != after[name]} == {"revision", "notes", "periods"}
        assert (before["revision"], after["revision"]) == (1, 2)
        assert (len(before["periods"]), after["periods"]) == (1, {})
        assert (before["notes"], after["notes"]) == (release.notes, "Mends two clocks.")

    def test_takes_another_image(
        self, particulars: Build, content: bytes, author: User, now: datetime
    ) -> None:
        release = upload(particulars(), content, author, now)
        other = images.build(blueprint=BLUEPRINT, seed=2, key=KEY)

        changed = releases.change(
            release=release,
            revision=1,
            particulars=particulars(digest=images.digest_of([other])),
            content=BytesIO(other),
            by=author,
            now=now,
        )

        assert changed.digest == images.digest_of([other])
        stored_images.verify_stored_image(release=changed)

    def test_checks_the_stored_image_against_what_is_typed_anew(
        self, particulars: Build, content: bytes, author: User, now: datetime
    ) -> None:
        release = upload(particulars(), content, author, now)

        with pytest.raises(releases.UnableToUpload, match="00010299"):
            releases.change(
                release=release,
                revision=1,
                particulars=particulars(version=0x00010299),
                content=None,
                by=author,
                now=now,
            )

    def test_refuses_one_who_began_from_an_older_revision(
        self, particulars: Build, content: bytes, author: User, now: datetime
    ) -> None:
        release = upload(particulars(), content, author, now)
        edit = {"release": release, "revision": 1, "content": None, "by": author, "now": now}
        releases.change(particulars=particulars(name="First"), **edit)

        with pytest.raises(releases.UnableToChange, match="revision 2"):
            releases.change(particulars=particulars(name="Second"), **edit)

    def test_refuses_once_published(
        self, particulars: Build, content: bytes, author: User, approver: User, now: datetime
    ) -> None:
        release = upload(particulars(), content, author, now)
        decisions.submit(release=release, by=author, now=now)
        decisions.sign_off(
            release=release, act=SignedAct.PUBLISH, revision=1, digest=release.digest, by=approver, now=now
        )
        decisions.publish(release=release, by=author, now=now)

        with pytest.raises(releases.UnableToChange, match="published cannot be changed"):
            releases.change(
                release=release, revision=1, particulars=particulars(), content=None, by=author, now=now
            )


class TestStore:
    def test_keeps_the_same_content_once(self, content: bytes, media_root: Path) -> None:
        digest = images.digest_of([content])

        names = {stored_images.store(content=BytesIO(content), digest=digest) for _ in range(2)}

        assert names == {f"images/{digest[:2]}/{digest}.ota"}
        assert [path.is_file() for path in media_root.rglob("*.ota*")] == [True]

    def test_neither_overwrites_nor_accepts_a_damaged_file_of_that_name(
        self, content: bytes, media_root: Path
    ) -> None:
        digest = images.digest_of([content])
        file = media_root / stored_images.store(content=BytesIO(content), digest=digest)
        file.chmod(0o640)
        file.write_bytes(b"swapped")

        with pytest.raises(stored_images.ImageChanged):
            stored_images.store(content=BytesIO(content), digest=digest)

        assert file.read_bytes() == b"swapped"


class TestVerifyStoredImage:
    @pytest.mark.parametrize("damage", ["flipped", "swapped", "truncated", "emptied", "missing"])
    def test_refuses_a_file_that_is_not_the_approved_one(
        self,
        damage: str,
        particulars: Build,
        content: bytes,
        author: User,
        now: datetime,
        media_root: Path,
    ) -> None:
        release = upload(particulars(), content, author, now)
        stored_images.verify_stored_image(release=release)
        file = media_root / str(release.image.name)
        other = images.build(blueprint=BLUEPRINT, seed=9, key=KEY)
        if damage == "missing":
            file.unlink()
        else:
            file.write_bytes(
                {
                    "flipped": content[:99] + bytes([content[99] ^ 128]) + content[100:],
                    "swapped": other,
                    "truncated": content[:-1],
                    "emptied": b"",
                }[damage]
            )

        with pytest.raises(stored_images.ImageChanged, match=release.digest):
            stored_images.verify_stored_image(release=release)

    @pytest.mark.parametrize("trouble", ["not mounted", "mounted empty", "broken"])
    def test_says_of_a_host_that_cannot_see_images_that_it_knows_nothing(
        self,
        trouble: str,
        particulars: Build,
        content: bytes,
        author: User,
        now: datetime,
        media_root: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        release = upload(particulars(), content, author, now)
        media_root.rename(media_root.with_name("elsewhere"))
        if trouble == "mounted empty":
            media_root.mkdir()
        if trouble == "broken":
            media_root.with_name("elsewhere").rename(media_root)

            def broken(*_: object) -> None:
                raise OSError(errno.ESTALE, "Stale file handle")

            monkeypatch.setattr(images, "digest_of", broken)

        with pytest.raises(stored_images.ImageUnavailable, match=socket.gethostname()):
            stored_images.verify_stored_image(release=release)
