"""Findings and reconciliations, as DCC's people read them."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from firmware.operations import groups as staff_groups
from scheduling.models import Finding, Mismatch, Reconciliation
from tests.scheduling.test_admin_quarantine import listed, words
from tests.scheduling.test_exceptions import member
from tests.scheduling.test_views_home import queries_of
from tests.scheduling.world import World

FINDINGS = reverse("admin:scheduling_finding_changelist")
PASSES = reverse("admin:scheduling_reconciliation_changelist")


def one_pass(now: datetime, **facts: Any) -> Reconciliation:
    read = {"finished_at": now, "log_done": True, "lots_done": True}
    return Reconciliation.objects.create(**{"started_at": now, "log_from": 0, "log_to": 0, **read, **facts})


def find(at: Reconciliation, kind: Mismatch, subject: str, **facts: Any) -> Finding:
    return Finding.objects.create(
        reconciliation=at, kind=kind, subject=subject, words="Told.", found_at=at.started_at, **facts
    )


@pytest.fixture
def passes(todays_world: World, client: Client) -> list[Reconciliation]:
    """Three passes: one with an excess and two differences, one without findings or a log, one under way."""
    now = todays_world.clock()
    found = one_pass(now, commands=1_234)
    find(found, Mismatch.UNADMITTED, "ACTIVATE 7/1", is_excess=True, acted_at=now)
    find(found, Mismatch.SLOT, "slot 9", is_excess=False)
    find(found, Mismatch.LOT, "lot 3", is_excess=False)
    silent = one_pass(now + timedelta(minutes=2), log_silent=True)
    going = one_pass(now + timedelta(minutes=4), finished_at=None, log_done=False, lots_done=False)
    client.force_login(member("auditor@dcc.example.com", staff_groups.AUDITORS))
    return [found, silent, going]


class TestFindings:
    def test_tell_an_excess_from_a_difference_in_words(
        self, passes: list[Reconciliation], client: Client
    ) -> None:
        page = words(client.get(FINDINGS))

        assert "<strong>Excess</strong>" in page
        assert page.count(">Difference<") == 3  # two, and the filter
        assert "slot 9: Told." in page
        assert "there should be nothing" in page
        assert "icon-yes" not in page

    def test_are_narrowed_to_either_and_to_what_one_pass_found(
        self, passes: list[Reconciliation], client: Client
    ) -> None:
        excess, slot, lot = Finding.objects.order_by("id").values_list("pk", flat=True)

        assert listed(client.get(FINDINGS, {"is_excess": "1"})) == [excess]
        assert listed(client.get(FINDINGS, {"is_excess": "0"})) == [slot, lot]
        assert listed(client.get(FINDINGS, {"is_excess": "nonsense"})) == [excess, slot, lot]
        assert listed(client.get(FINDINGS, {"q": "slot 9"})) == [slot]
        assert listed(client.get(FINDINGS, {"reconciliation__id__exact": passes[1].pk})) == []


class TestReconciliations:
    def test_say_how_far_they_came_and_lead_to_what_they_found(
        self, passes: list[Reconciliation], client: Client
    ) -> None:
        page = words(client.get(PASSES))

        for said in ("could not be read", "being read", "under way", "nothing yet", "nothing", "1234"):
            assert said in page
        leads = f"{FINDINGS}?reconciliation__id__exact={passes[0].pk}"
        assert f'<a href="{leads}">1 excess, 2 differences</a>' in page
        assert len(listed(client.get(leads))) == 3
        assert "icon-no" not in page

    def test_say_the_same_one_by_one(self, passes: list[Reconciliation], client: Client) -> None:
        page = words(client.get(reverse("admin:scheduling_reconciliation_change", args=[passes[0].pk])))

        assert "1 excess, 2 differences" in page

    def test_ask_as_much_for_one_as_for_many(self, passes: list[Reconciliation], client: Client) -> None:
        many = len(queries_of(client, PASSES))
        Reconciliation.objects.filter(pk__in=[passes[1].pk, passes[2].pk]).delete()

        assert len(queries_of(client, PASSES)) == many
