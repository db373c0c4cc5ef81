"""The release desk, asked by each of the cast."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from io import BytesIO
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from firmware import images
from firmware.models import FirmwareRelease, ReleaseState, SignedAct, SignOff, Urgency
from firmware.operations import decisions, releases
from hubs.models import HubModel, Network
from portal.ground import clock
from portal.ground.models import AuditEntry
from portal.ground.uk_time import Span
from portal.models import User
from tests.factories import (
    FirmwareReleaseFactory,
    FleetCountFactory,
    HubModelFactory,
    NetworkFactory,
    SupplierFactory,
    UserFactory,
)
from tests.firmware.conftest import BLUEPRINT, KEY

pytestmark = pytest.mark.django_db
Post = Callable[..., HttpResponse]
ADD = "admin:firmware_firmwarerelease_add"
LIST = "admin:firmware_firmwarerelease_changelist"
OPENS = datetime(2030, 5, 7, tzinfo=UTC)


@pytest.fixture
def supplier_user(db: None) -> User:
    return UserFactory(email="northern@supplier.example", supplier=SupplierFactory(name="Northern"))


def signed_in(user: User | None) -> Client:
    client = Client()
    if user is not None:
        client.force_login(user)
        session = client.session
        # as after typing the password a moment ago
        session["account_authentication_methods"] = [
            {"method": "password", "at": time.time(), "email": user.email, "reauthenticated": True}
        ]
        session["account_authentication_methods_user"] = str(user.pk)
        session.save()
    return client


def page_of(release: FirmwareRelease) -> str:
    return reverse("admin:firmware_firmwarerelease_change", args=[release.pk])


def decide(release: FirmwareRelease, act: str) -> str:
    return reverse("admin:firmware_firmwarerelease_decide", args=[release.pk, act])


def text(response: Any) -> str:
    return unescape(response.content.decode())


@pytest.fixture
def typed(content: bytes, model: HubModel, north: Network) -> Callable[..., dict[str, Any]]:
    """What a release manager types into the form, with whatever a test types otherwise."""

    def build(**otherwise: Any) -> dict[str, Any]:
        return {
            "name": "Autumn release",
            "cpl_entry_id": "CPL-0001",
            "typed_version": "00010203",
            "typed_digest": images.digest_of([content]),
            "file": SimpleUploadedFile("hub.ota", content),
            "hub_models": [model.pk],
            "minimum_hardware": "0001",
            "maximum_hardware": "00FF",
            "notes": "Mends the clock.",
            "known_issues": "",
            "contact": "Release desk",
            "urgency": "normal",
            "urgency_reason": "",
            "predecessors-TOTAL_FORMS": "1",
            "predecessors-INITIAL_FORMS": "0",
            "predecessors-0-typed_version": "00010202",
            "predecessors-0-cpl_entry_id": "CPL-0000",
            "periods-TOTAL_FORMS": "1",
            "periods-INITIAL_FORMS": "0",
            "periods-0-network": north.pk,
            "periods-0-start_at": "2030-05-07T01:00",
            "periods-0-end_at": "2030-07-01T00:00",
            "policy-TOTAL_FORMS": "1",
            "policy-INITIAL_FORMS": "0",
            **otherwise,
        }

    return build


@pytest.fixture
def draft(
    particulars: Callable[..., releases.Particulars], content: bytes, author: User, north: Network
) -> FirmwareRelease:
    period = releases.Period(network=north, start_at=OPENS, end_at=OPENS + timedelta(days=60))
    return releases.upload(
        particulars=particulars(periods=[period]), content=BytesIO(content), author=author, now=clock.now()
    )


@pytest.fixture
def submitted(draft: FirmwareRelease, manager: User) -> FirmwareRelease:
    return decisions.submit(release=draft, by=manager, now=clock.now())


@pytest.fixture
def signed(submitted: FirmwareRelease, approver: User) -> FirmwareRelease:
    decisions.sign_off(
        release=submitted,
        act=SignedAct.PUBLISH,
        revision=1,
        digest=submitted.digest,
        by=approver,
        now=clock.now(),
    )
    return submitted


@pytest.fixture
def published(signed: FirmwareRelease, author: User) -> FirmwareRelease:
    return decisions.publish(release=signed, by=author, now=clock.now())


class TestWhoMayCome:
    CAST = ("anonymous", "supplier_user", "auditor", "author", "approver")

    @pytest.fixture(params=CAST)
    def who(self, request: pytest.FixtureRequest) -> tuple[str, Client]:
        user = None if request.param == "anonymous" else request.getfixturevalue(request.param)
        return request.param, signed_in(user)

    def test_list_and_release_are_dcc_s_alone(
        self, who: tuple[str, Client], submitted: FirmwareRelease
    ) -> None:
        name, client = who

        for address in (reverse(LIST), page_of(submitted)):
            status = client.get(address).status_code
            assert (status == 200) is (name in {"auditor", "author", "approver"})
            assert status in {200, 302, 404}

    def test_upload_is_the_release_manager_s(
        self, who: tuple[str, Client], typed: Callable[..., dict[str, Any]]
    ) -> None:
        name, client = who

        shown, sent = client.get(reverse(ADD)), client.post(reverse(ADD), typed())

        assert (shown.status_code == 200) is (name == "author")
        assert FirmwareRelease.objects.exists() is (name == "author")
        assert sent.status_code in ({302} if name == "author" else {302, 403, 404})

    def test_edits_are_the_release_manager_s(
        self,
        who: tuple[str, Client],
        submitted: FirmwareRelease,
        typed: Callable[..., dict[str, Any]],
    ) -> None:
        name, client = who

        client.post(page_of(submitted), changed(typed, submitted, notes="Other"))

        submitted.refresh_from_db()
        assert (submitted.notes == "Other") is (name == "author")

    @pytest.mark.parametrize(
        ("act", "allowed"),
        [
            ("submit", {"author"}),
            ("sign-off", {"approver"}),
            ("publish", {"author"}),
            ("halt", {"author", "approver"}),
            ("sign-off-resumption", {"approver"}),
            ("resume", {"author"}),
            ("withdraw", {"author"}),
            ("close", {"author"}),
        ],
    )
    def test_each_decision_is_theirs_who_have_the_permission(
        self, act: str, allowed: set[str], who: tuple[str, Client], submitted: FirmwareRelease
    ) -> None:
        name, client = who
        entries = AuditEntry.objects.count()

        response = client.get(decide(submitted, act))
        assert (response.status_code == 200) is (name in allowed)
        if name not in allowed:
            refused = client.post(
                decide(submitted, act), {"revision": 1, "digest": submitted.digest, "reason": "Because"}
            )
            assert refused.status_code in {302, 403, 404}
            assert AuditEntry.objects.count() == entries

    def test_the_record_is_for_dcc_to_read_and_for_nobody_to_change(
        self, who: tuple[str, Client], submitted: FirmwareRelease
    ) -> None:
        name, client = who
        entry = AuditEntry.objects.order_by("pk")[0]
        address = reverse("admin:ground_auditentry_change", args=[entry.pk])

        shown = client.get(reverse("admin:ground_auditentry_changelist") + "?kind=release&q=release.")

        assert (shown.status_code == 200) is (name in {"auditor", "author", "approver"})
        if shown.status_code == 200:
            assert "release.uploaded" in text(shown)
            assert "SHA-256" in text(client.get(address))
            assert client.post(address, {"verb": "forged"}).status_code == 403
            delete = reverse("admin:ground_auditentry_delete", args=[entry.pk])
            assert client.post(delete, {"post": "yes"}).status_code == 403


def changed(
    typed: Callable[..., dict[str, Any]], release: FirmwareRelease, **otherwise: Any
) -> dict[str, Any]:
    """Return the form of an uploaded release, as its page posts it."""
    predecessor, period = release.predecessors.get(), release.periods.get()
    fields = typed(
        **{
            "expected_revision": release.revision,
            "predecessors-INITIAL_FORMS": "1",
            "predecessors-0-id": predecessor.pk,
            "predecessors-0-release": release.pk,
            "periods-INITIAL_FORMS": "1",
            "periods-0-id": period.pk,
            "periods-0-release": release.pk,
            "policy-INITIAL_FORMS": "1",
            "policy-0-id": release.policy.pk,
            "policy-0-release": release.pk,
            "policy-0-notice_before_opening": str(release.policy.notice_before_opening),
            "policy-0-minimum_period": str(release.policy.minimum_period),
            "policy-0-default_allocation_percent": release.policy.default_allocation_percent,
            "policy-0-default_allocation_notice": str(release.policy.default_allocation_notice),
            **otherwise,
        }
    )
    if "file" not in otherwise:
        del fields["file"]
    return fields


class TestUpload:
    def test_makes_a_draft_of_what_was_typed(
        self, typed: Callable[..., dict[str, Any]], author: User, north: Network
    ) -> None:
        response = signed_in(author).post(reverse(ADD), typed())

        release = FirmwareRelease.objects.get()
        assert response.status_code == 302
        assert (release.state, release.author, release.version.number) == ("draft", author, 0x00010203)
        assert release.predecessors.get().version.number == 0x00010202
        # British Summer Time
        assert release.periods.get().start_at == OPENS
        assert release.policy.notice_before_opening == Span(20, "working days")
        assert release.policy.stage_sizes == [50, 500, 5_000, 50_000]

    def test_begins_with_a_period_on_every_network_that_can_still_be_published_in_a_week(
        self,
        author: User,
        manager: User,
        approver: User,
        typed: Callable[..., dict[str, Any]],
    ) -> None:
        client = signed_in(author)
        [formset] = [
            one.formset
            for one in client.get(reverse(ADD)).context["inline_admin_formsets"]
            if one.formset.prefix == "periods"
        ]
        offered = {
            f"periods-{number}-{name}": form[name].value()
            for number, form in enumerate(formset.forms)
            for name in ("network", "start_at", "end_at")
        }
        client.post(reverse(ADD), typed(**{"periods-TOTAL_FORMS": len(formset.forms), **offered}))

        release = FirmwareRelease.objects.get()
        assert set(release.periods.values_list("network", flat=True)) == set(
            Network.objects.values_list("pk", flat=True)
        )
        now = clock.now() + timedelta(days=7)
        decisions.submit(release=release, by=manager, now=now)
        decisions.sign_off(
            release=release,
            act=SignedAct.PUBLISH,
            revision=release.revision,
            digest=release.digest,
            by=approver,
            now=now,
        )
        decisions.publish(release=release, by=manager, now=now)

    def test_leaves_out_a_network_without_times(
        self, author: User, typed: Callable[..., dict[str, Any]]
    ) -> None:
        other = NetworkFactory.create()
        without = {"periods-1-network": other.pk, "periods-1-start_at": "", "periods-1-end_at": ""}
        signed_in(author).post(reverse(ADD), typed(**{"periods-TOTAL_FORMS": "2", **without}))

        assert FirmwareRelease.objects.get().periods.count() == 1

    def test_wants_both_times_of_a_network_or_none(
        self, author: User, typed: Callable[..., dict[str, Any]]
    ) -> None:
        half = {"periods-0-end_at": ""}

        assert "This field is required" in text(signed_in(author).post(reverse(ADD), typed(**half)))

    def test_takes_the_figures_of_an_urgent_release_where_none_were_typed(
        self, typed: Callable[..., dict[str, Any]], author: User
    ) -> None:
        signed_in(author).post(
            reverse(ADD),
            typed(urgency="urgent", urgency_reason="A leak.", **{"policy-0-minimum_period": "30 minutes"}),
        )

        policy = FirmwareRelease.objects.get().policy
        assert policy.notice_before_opening == Span(5, "working days")
        assert policy.minimum_period == Span(30, "minutes")

    def test_finds_the_version_of_a_predecessor_that_is_a_release_here(
        self, typed: Callable[..., dict[str, Any]], author: User
    ) -> None:
        known = FirmwareReleaseFactory(cpl_entry_id="CPL-7", version__number=0x00010201)

        signed_in(author).post(
            reverse(ADD),
            typed(**{"predecessors-0-typed_version": "", "predecessors-0-cpl_entry_id": "CPL-7"}),
        )

        release = FirmwareRelease.objects.get(cpl_entry_id="CPL-0001")
        assert release.predecessors.get().version == known.version

    @pytest.mark.parametrize(
        ("otherwise", "sentences"),
        [
            ({"typed_digest": "ab" * 32}, ["CPL hash (SHA-256): " + "ab" * 32 + " was typed"]),
            ({"typed_digest": "ab"}, ["64 hexadecimal digits", "2 characters were typed"]),
            ({"typed_version": "00010204"}, ["Version: 00010204 was typed, but the file has 00010203."]),
            ({"typed_version": "1.2.3"}, ["“1.2.3” is not 8 hexadecimal digits"]),
            ({"minimum_hardware": "0002"}, ["0002 to 00FF was typed, but the file has 0001 to 00FF."]),
            ({"minimum_hardware": "0100"}, ["The lowest hardware version is above the highest."]),
            ({"hub_models": []}, ["This field is required."]),
            ({"file": ""}, ["This field is required."]),
            ({"urgency": "urgent"}, ["Say why the release is urgent."]),
            ({"predecessors-0-typed_version": "00010203"}, ["not older than the release, 00010203"]),
            ({"predecessors-0-typed_version": ""}, ["No release here has the CPL Entry ID “CPL-0000”"]),
            ({"has_no_predecessor": "on"}, ["Either name predecessors"]),
            ({"periods-0-start_at": "2030-03-31T01:30"}, ["does not exist in UK time"]),
            ({"periods-0-start_at": "2030-10-27T01:30"}, ["happens twice in UK time"]),
            ({"periods-0-end_at": "2030-05-07T01:00"}, ["The period closes before it opens."]),
            ({"policy-0-grace": "a while"}, ["“a while” is not a span"]),
            ({"policy-0-stage_sizes": "500, 50"}, ["A stage cannot be smaller"]),
        ],
    )
    def test_refuses_at_the_field_with_both_values(
        self,
        otherwise: dict[str, Any],
        sentences: list[str],
        typed: Callable[..., dict[str, Any]],
        author: User,
    ) -> None:
        response = signed_in(author).post(reverse(ADD), typed(**otherwise))

        assert response.status_code == 200
        for sentence in sentences:
            assert sentence in text(response)
        assert not FirmwareRelease.objects.exists()

    def test_refuses_a_wrong_model_naming_both_codes(
        self, typed: Callable[..., dict[str, Any]], author: User
    ) -> None:
        other = HubModelFactory(name="Hub B", manufacturer=0x20B2, image_type=0x0002)

        shown = text(signed_in(author).post(reverse(ADD), typed(hub_models=[other.pk])))

        assert "Manufacturer of Hub B: 20B2 was typed, but the file has 10A1." in shown
        assert "Image type of Hub B: 0002 was typed, but the file has 0001." in shown

    def test_refuses_one_flipped_bit_two_megabytes_and_what_is_no_image(
        self, typed: Callable[..., dict[str, Any]], author: User, content: bytes
    ) -> None:
        flipped = content[:300] + bytes([content[300] ^ 4]) + content[301:]
        large = images.build(blueprint=BLUEPRINT.resized(2_000_000), seed=1, key=KEY)

        for file, sentence in (
            (flipped, f"but the file has {images.digest_of([flipped])}."),
            (large, "Wanted at most 750,000 bytes, found 2,000,000 bytes."),
            (b"%PDF-1.7" * 100, "The file is not a firmware image."),
            (content[:-10], "The file ends before the end that its header states."),
        ):
            response = signed_in(author).post(reverse(ADD), typed(file=SimpleUploadedFile("hub.ota", file)))
            assert sentence in text(response)
        assert not FirmwareRelease.objects.exists()

    def test_wants_the_form_s_token(self, typed: Callable[..., dict[str, Any]], author: User) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(author)

        assert client.post(reverse(ADD), typed()).status_code == 403
        assert not FirmwareRelease.objects.exists()


class TestChange:
    def test_voids_the_sign_offs_and_keeps_the_image(
        self,
        typed: Callable[..., dict[str, Any]],
        signed: FirmwareRelease,
        manager: User,
    ) -> None:
        response = signed_in(manager).post(page_of(signed), changed(typed, signed, notes="Other"))

        digest = signed.digest
        signed.refresh_from_db()
        assert response.status_code == 302
        assert (signed.state, signed.revision, signed.notes, signed.digest) == ("draft", 2, "Other", digest)
        assert SignOff.objects.get().voided_at is not None

    def test_changes_the_figures_with_the_urgency_but_for_those_that_were_chosen(
        self, typed: Callable[..., dict[str, Any]], draft: FirmwareRelease, author: User
    ) -> None:
        signed_in(author).post(
            page_of(draft),
            changed(
                typed,
                draft,
                urgency="urgent",
                urgency_reason="A leak.",
                **{"policy-0-default_allocation_percent": "50"},
            ),
        )

        release = FirmwareRelease.objects.get()
        assert release.urgency == Urgency.URGENT
        assert release.policy.notice_before_opening == Span(5, "working days")
        assert release.policy.minimum_period == Span(14, "days")
        assert release.policy.default_allocation_percent == 50

    def test_tells_who_began_from_an_older_revision(
        self, typed: Callable[..., dict[str, Any]], draft: FirmwareRelease, author: User
    ) -> None:
        client = signed_in(author)
        stale = changed(typed, draft, notes="Second", expected_revision=0)

        response = client.post(page_of(draft), stale, follow=True)

        assert "The release was changed in the meantime" in text(response)
        assert FirmwareRelease.objects.get().notes == "Mends the clock."

    def test_keeps_the_sign_off_when_nothing_was_changed(
        self, typed: Callable[..., dict[str, Any]], signed: FirmwareRelease, author: User
    ) -> None:
        client = signed_in(author)
        page = client.get(page_of(signed))
        fields: dict[str, Any] = {}
        forms = [page.context["adminform"].form]
        for formset in page.context["inline_admin_formsets"]:
            forms += [formset.formset.management_form, *formset.formset.forms]
        for form in forms:
            for bound in form:
                value = bound.field.widget.format_value(bound.value())
                fields[bound.html_name] = "" if value is None else value
        fields["hub_models"] = list(signed.hub_models.values_list("pk", flat=True))
        fields["urgency"] = "normal"
        fields["periods-0-network"] = signed.periods.get().network_id
        fields["periods-1-network"] = ""
        for name in ("has_no_predecessor", "predecessors-0-DELETE", "periods-0-DELETE"):
            fields.pop(name, None)

        response = client.post(page_of(signed), fields)

        signed.refresh_from_db()
        assert response.status_code == 302
        assert (signed.state, signed.revision) == ("submitted", 1)
        assert SignOff.objects.get().voided_at is None

    def test_is_not_offered_once_published(
        self, typed: Callable[..., dict[str, Any]], published: FirmwareRelease, author: User
    ) -> None:
        client = signed_in(author)

        shown = text(client.get(page_of(published)))
        assert 'name="typed_version"' not in shown
        assert 'name="periods-0-start_at"' not in shown
        assert 'name="periods-1-start_at"' not in shown
        assert client.post(page_of(published), changed(typed, published)).status_code == 403

    def test_shows_the_upload_check_field_by_field_and_a_swapped_file(
        self, draft: FirmwareRelease, auditor: User, media_root: Any
    ) -> None:
        shown = text(signed_in(auditor).get(page_of(draft)))
        assert shown.count("state-success") == 6
        assert "Not the approved image" not in shown

        other = images.build(blueprint=BLUEPRINT, seed=5, key=KEY)
        (media_root / str(draft.image.name)).write_bytes(other)
        shown = text(signed_in(auditor).get(page_of(draft)))
        assert "Not the approved image" in shown
        assert shown.count("state-error") == 1
        assert images.digest_of([other]) in shown

    def test_shows_the_history(self, submitted: FirmwareRelease, auditor: User) -> None:
        shown = text(signed_in(auditor).get(page_of(submitted)))

        assert "release.submitted" in shown
        assert "release.uploaded" in shown


class TestDecide:
    def data(self, release: FirmwareRelease, **otherwise: Any) -> dict[str, Any]:
        return {"revision": release.revision, "digest": release.digest, "reason": ""} | otherwise

    def test_says_in_numbers_what_publishing_will_do(
        self, signed: FirmwareRelease, author: User, model: HubModel, north: Network
    ) -> None:
        facts = {"model": model, "network": north, "installed_version": signed.predecessors.get().version}
        FleetCountFactory(**facts, hubs=412_000)
        FleetCountFactory(**facts, hubs=884)
        FleetCountFactory(**facts | {"network": NetworkFactory(code="south")}, hubs=5)

        shown = " ".join(text(signed_in(author).get(decide(signed, "publish"))).split())

        figure = '{}</div> <p class="stat-figure">{} <span class="stat-unit">{}</span>'
        assert figure.format("Will notify", 2, "Suppliers") in shown
        assert figure.format("About", "412,884", "hubs") in shown

    def test_takes_a_release_from_draft_to_withdrawn(
        self, draft: FirmwareRelease, author: User, approver: User, manager: User
    ) -> None:
        steps = [
            (manager, "submit", "", ReleaseState.SUBMITTED),
            (approver, "sign-off", "", ReleaseState.SUBMITTED),
            (author, "publish", "", ReleaseState.PUBLISHED),
            (approver, "halt", "Silent hubs.", ReleaseState.HALTED),
            (approver, "sign-off-resumption", "Mended.", ReleaseState.HALTED),
            (author, "resume", "Mended.", ReleaseState.PUBLISHED),
            (author, "withdraw", "Superseded.", ReleaseState.WITHDRAWN),
        ]
        for by, act, reason, state in steps:
            client = signed_in(by)
            offered = reverse("admin:firmware_firmwarerelease_decide", args=[draft.pk, act])
            assert offered in text(client.get(page_of(draft)))
            response = client.post(decide(draft, act), self.data(draft, reason=reason), follow=True)
            assert 'class="success"' in text(response)
            draft.refresh_from_db()
            assert draft.state == state

    def test_explains_a_refusal(self, submitted: FirmwareRelease, author: User) -> None:
        response = signed_in(author).post(decide(submitted, "publish"), self.data(submitted), follow=True)

        assert "has to sign this revision off first" in text(response)

    def test_asks_for_the_reason_of_a_halt(self, published: FirmwareRelease, approver: User) -> None:
        response = signed_in(approver).post(decide(published, "halt"), self.data(published))

        assert "This field is required." in text(response)
        published.refresh_from_db()
        assert published.state == ReleaseState.PUBLISHED

    def test_keeps_the_halt_in_reach_in_the_list(self, published: FirmwareRelease, approver: User) -> None:
        assert decide(published, "halt") in text(signed_in(approver).get(reverse(LIST)))

    def test_takes_a_sign_off_that_is_sent_again_once(
        self, submitted: FirmwareRelease, approver: User
    ) -> None:
        sent = self.data(submitted) | {"request_key": str(uuid.uuid4())}

        first = signed_in(approver).post(decide(submitted, "sign-off"), sent)
        copy = signed_in(approver).post(decide(submitted, "sign-off"), sent)
        anew = signed_in(approver).post(decide(submitted, "sign-off"), self.data(submitted), follow=True)

        assert first["Location"] == copy["Location"] == page_of(submitted)
        assert "signed off already" in text(anew)
        assert SignOff.objects.count() == 1

    def test_takes_no_sign_off_again_that_an_edit_has_voided(
        self, signed: FirmwareRelease, author: User, approver: User, typed: Any
    ) -> None:
        replayed = self.data(signed)
        client = signed_in(author)
        client.post(page_of(signed), changed(typed, signed, notes="Other"))
        client.post(decide(signed, "submit"), self.data(FirmwareRelease.objects.get(pk=signed.pk)))

        response = signed_in(approver).post(decide(signed, "sign-off"), replayed, follow=True)

        assert FirmwareRelease.objects.get(pk=signed.pk).revision == 2
        assert "changed" in text(response)
        assert not SignOff.objects.filter(revision=2).exists()

    @pytest.mark.parametrize("act", ["publish", "sign-off", "resume", "sign-off-resumption"])
    def test_wants_the_password_again_for_what_opens_the_way_to_hubs(
        self, act: str, signed: FirmwareRelease, author: User, approver: User
    ) -> None:
        by = approver if act.startswith("sign-off") else author
        by.set_password("a long enough password")
        by.save()
        client = Client()
        client.force_login(by)

        response = client.post(decide(signed, act), self.data(signed, reason="Because"))

        assert response.status_code == 302
        assert reverse("account_reauthenticate") in response["Location"]
        signed.refresh_from_db()
        assert signed.state == ReleaseState.SUBMITTED

    def test_does_not_know_other_acts_and_releases(self, draft: FirmwareRelease, author: User) -> None:
        client = signed_in(author)

        assert client.get(decide(draft, "delete")).status_code == 404
        draft.pk = 999_999
        assert client.get(decide(draft, "submit")).status_code == 404


class TestList:
    def test_asks_a_fixed_number_of_questions(
        self, author: User, draft: FirmwareRelease, django_assert_num_queries: Any
    ) -> None:
        client = signed_in(author)
        client.get(reverse(LIST))
        with django_assert_num_queries(8) as few:
            client.get(reverse(LIST))
        for _ in range(5):
            FirmwareReleaseFactory(published=True)
        with django_assert_num_queries(len(few.captured_queries)):
            client.get(reverse(LIST))
