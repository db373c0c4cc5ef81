"""Pages and numbers of hubs, as each Supplier sees them."""

from datetime import UTC, datetime

import pytest
from django.db.models import Q
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from hubs import queries
from hubs.identifiers import InvalidIdentifier, format_eui64, format_mpan
from hubs.models import SHOWN, CommunicationsHub, HubStatus, PaymentMode
from hubs.operations import count_fleet
from hubs.queries import Filters, by_ids, counted_at, counts, hubs_of, number_of_hubs, page_of_hubs
from tests.factories import (
    CommunicationsHubFactory,
    FirmwareVersionFactory,
    HubModelFactory,
    NetworkFactory,
    SupplierFactory,
)

NOW = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)


@pytest.fixture
def northern(db):
    return SupplierFactory(name="Northern")


@pytest.fixture
def southern(db):
    return SupplierFactory(name="Southern")


@pytest.fixture
def fleet(northern, southern):
    """Sixty hubs: a third only northern's, a third southern's with northern as other, a third southern's."""
    models = [HubModelFactory(), HubModelFactory()]
    networks = [NetworkFactory(code=code) for code in ("north", "south")]
    versions = [FirmwareVersionFactory(), FirmwareVersionFactory()]
    return [
        CommunicationsHubFactory(
            chf_id=(number - 30) * 1_000,
            import_supplier=northern if number % 3 == 0 else southern,
            gas_supplier=northern if number % 3 == 1 else None,
            model=models[number % 2],
            network=networks[number // 2 % 2],
            installed_version=versions[number // 4 % 2],
            status=(*SHOWN, HubStatus.WITHDRAWN)[number % 5],
            payment_mode=PaymentMode.values[number // 8 % 2],
        )
        for number in range(60)
    ]


def walk(*, supplier, filters=None, limit=7, is_backwards=False):
    """Turn all the pages and return the CHF IDs in the order in which they came, in either direction."""
    ids = []
    start = 2**62 if is_backwards else None
    for _ in range(200):
        place = {"before": start} if is_backwards else {"after": start}
        page = page_of_hubs(supplier=supplier, filters=filters, limit=limit, **place)
        assert len(page.hubs) <= limit
        ids += [hub.chf_id for hub in (reversed(page.hubs) if is_backwards else page.hubs)]
        start = page.previous_before if is_backwards else page.next_after
        if start is None:
            return ids
        assert page.is_unfinished or len(page.hubs) == limit
    raise AssertionError("The pages never end.")


class TestHubsOf:
    def test_returns_those_that_the_supplier_leads_or_is_the_other_of(self, fleet, northern, southern):
        seen = {hub.chf_id for hub in hubs_of(supplier=northern)}

        shown = [hub for hub in fleet if hub.status in SHOWN]
        assert seen == {hub.chf_id for hub in shown if northern in (hub.import_supplier, hub.gas_supplier)}
        assert {hub.chf_id for hub in hubs_of(supplier=southern)} == {
            hub.chf_id for hub in shown if hub.import_supplier == southern
        }

    @pytest.mark.parametrize("status", [status for status in HubStatus if status not in SHOWN])
    def test_leaves_out_what_is_never_shown(self, northern, status):
        CommunicationsHubFactory(import_supplier=northern, status=status)

        assert not hubs_of(supplier=northern).exists()

    def test_shows_a_stranger_nothing(self, fleet):
        assert not hubs_of(supplier=SupplierFactory()).exists()


class TestByIds:
    def test_leaves_a_foreign_hub_out_just_as_an_unknown_one(self, fleet, northern, southern):
        own, foreign = fleet[0].chf_id, fleet[2].chf_id

        assert [hub.chf_id for hub in by_ids(supplier=northern, chf_ids=[own, foreign, 42])] == [own]


class TestPageOfHubs:
    @pytest.fixture(autouse=True)
    def counted(self, fleet):
        count_fleet(now=NOW)

    def expected(self, supplier, **wanted):
        return [
            hub.chf_id
            for hub in CommunicationsHub.objects.filter(
                Q(lead_id=supplier.pk) | Q(other_id=supplier.pk), status__in=SHOWN, **wanted
            ).order_by("chf_id")
        ]

    @pytest.mark.parametrize("limit", [1, 7, 100])
    def test_brings_every_hub_once_in_order(self, northern, southern, limit):
        for supplier in (northern, southern):
            assert walk(supplier=supplier, limit=limit) == self.expected(supplier)

    def test_goes_backwards_too(self, northern):
        assert walk(supplier=northern, is_backwards=True) == self.expected(northern)[::-1]

    def test_shows_a_stranger_nothing(self):
        assert page_of_hubs(supplier=SupplierFactory()) == queries.Page([], None, None)

    @pytest.mark.parametrize(
        "column", ["network_id", "model_id", "installed_version_id", "status", "payment_mode"]
    )
    @pytest.mark.parametrize("is_backwards", [False, True])
    def test_narrows_to_each_filter(self, northern, fleet, column, is_backwards):
        for value in {getattr(hub, column) for hub in fleet}:
            filters = Filters(**{column.removesuffix("_id"): value})

            ids = walk(supplier=northern, filters=filters, limit=3, is_backwards=is_backwards)

            assert sorted(ids) == self.expected(northern, **{column: value})

    def test_narrows_to_all_filters_together(self, northern, fleet):
        first = fleet[0]
        filters = Filters(
            network=first.network_id,
            model=first.model_id,
            installed_version=first.installed_version_id,
            status=first.status,
            payment_mode=first.payment_mode,
        )

        ids = walk(supplier=northern, filters=filters)

        assert first.chf_id in ids
        assert len(ids) < 5

    @pytest.mark.parametrize("is_backwards", [False, True])
    def test_stops_at_the_end_of_its_stretch_and_goes_on_from_there(
        self, northern, monkeypatch, is_backwards
    ):
        monkeypatch.setattr(queries, "WINDOW", 6)
        monkeypatch.setattr(queries, "SHORTEST_STRETCH", 2)
        filters = Filters(payment_mode=PaymentMode.PREPAYMENT)

        first = page_of_hubs(supplier=northern, filters=filters)
        ids = walk(supplier=northern, filters=filters, is_backwards=is_backwards)

        assert first.is_unfinished
        assert first.next_after is not None
        assert sorted(ids) == self.expected(northern, payment_mode=PaymentMode.PREPAYMENT)

    def test_leads_back_to_the_page_before(self, northern):
        first = page_of_hubs(supplier=northern, limit=5)
        second = page_of_hubs(supplier=northern, limit=5, after=first.next_after)
        again = page_of_hubs(supplier=northern, limit=5, before=second.previous_before)

        assert first.previous_before is None
        assert again.hubs == first.hubs
        assert again.next_after == first.next_after

    @pytest.mark.parametrize(
        "filters", [Filters(), Filters(network=1), Filters(status=HubStatus.COMMISSIONED)]
    )
    def test_asks_a_fixed_number_of_questions(self, northern, filters, django_assert_max_num_queries):
        with django_assert_max_num_queries(4):
            page = page_of_hubs(supplier=northern, filters=filters)
            words = [f"{hub.network} {hub.model} {hub.installed_version}" for hub in page.hubs]
        assert len(words) == len(page.hubs)

    def test_finds_a_hub_by_any_identifier_however_it_is_written(self, northern):
        hub = CommunicationsHubFactory(import_supplier=northern, mpan=1234567890126, mprn=3938424403)
        chf = format_eui64(hub.chf_id)

        for text in (
            chf,
            chf.replace("-", ":").lower(),
            " 12 3456 7890 126",
            format_mpan(hub.mpan),
            "3938424403",
        ):
            assert page_of_hubs(supplier=northern, filters=Filters(search=text)).hubs == [hub]

    def test_answers_for_a_foreign_identifier_as_for_an_unknown_one(self, northern, southern):
        hub = CommunicationsHubFactory(import_supplier=southern, mpan=1234567890126)
        unknown = page_of_hubs(supplier=northern, filters=Filters(search="9999999999999"))

        for text in (format_eui64(hub.chf_id), "1234567890126"):
            assert page_of_hubs(supplier=northern, filters=Filters(search=text)) == unknown

    def test_explains_what_can_be_searched_for(self, northern):
        with pytest.raises(InvalidIdentifier, match="neither a CHF ID"):
            page_of_hubs(supplier=northern, filters=Filters(search="Mrs Smith"))


class TestPagesOfAnyFleet(TestCase):
    """Whatever the fleet and the page's size, walking finds what a plain question finds."""

    @given(
        st.lists(
            st.tuples(st.integers(0, 500), st.integers(0, 3), st.booleans()),
            max_size=30,
            unique_by=lambda t: t[0],
        ),
        st.integers(1, 6),
        st.integers(2, 9),
        st.booleans(),
    )
    def test_walk_equals_plain_question(self, rows, limit, window, is_backwards):
        northern, southern = SupplierFactory(), SupplierFactory()
        model, version = HubModelFactory(), FirmwareVersionFactory()
        for chf_id, kind, is_prepaid in rows:
            CommunicationsHubFactory(
                chf_id=chf_id,
                import_supplier=northern if kind % 2 else southern,
                gas_supplier=northern if kind > 1 else None,
                model=model,
                installed_version=version,
                payment_mode=PaymentMode.PREPAYMENT if is_prepaid else PaymentMode.CREDIT,
            )
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(queries, "WINDOW", window)
            patched.setattr(queries, "SHORTEST_STRETCH", 1)
            ids = walk(
                supplier=northern,
                filters=Filters(payment_mode=PaymentMode.PREPAYMENT),
                limit=limit,
                is_backwards=is_backwards,
            )

        plain = hubs_of(supplier=northern).filter(payment_mode=PaymentMode.PREPAYMENT)
        assert ids == sorted(plain.values_list("pk", flat=True), reverse=is_backwards)


class TestCounts:
    @pytest.fixture(autouse=True)
    def counted(self, fleet):
        count_fleet(now=NOW)

    def test_add_up_to_the_hubs_that_the_supplier_leads(self, northern):
        led = hubs_of(supplier=northern).filter(lead_id=northern.pk)

        assert number_of_hubs(supplier=northern) == led.count()
        assert sum(row["hubs"] for row in counts(supplier=northern, by=["network", "status"])) == led.count()

    def test_tell_the_facets_apart(self, northern, fleet):
        rows = counts(supplier=northern, by=["model", "status"])

        assert {(row["model"], row["status"]): row["hubs"] for row in rows} == {
            (model, status): hubs_of(supplier=northern)
            .filter(lead_id=northern.pk, model=model, status=status)
            .count()
            for model, status in {
                (hub.model_id, hub.status)
                for hub in fleet
                if hub.import_supplier == northern and hub.status in SHOWN
            }
        }
        assert [row["hubs"] for row in rows] == sorted((row["hubs"] for row in rows), reverse=True)

    def test_are_narrowed_by_the_filters_of_a_page(self, northern):
        filters = Filters(payment_mode=PaymentMode.PREPAYMENT)

        assert number_of_hubs(supplier=northern, filters=filters) == (
            hubs_of(supplier=northern).filter(lead_id=northern.pk, payment_mode=2).count()
        )

    def test_are_everyones_without_a_supplier(self, fleet):
        assert number_of_hubs(supplier=None) == sum(hub.status in SHOWN for hub in fleet)

    def test_never_look_at_the_hubs(self, northern, django_assert_num_queries):
        with django_assert_num_queries(3) as asked:
            counts(supplier=northern, by=["network", "model", "installed_version", "payment_mode"])
            number_of_hubs(supplier=northern)
            assert counted_at() == NOW
        assert not any("communicationshub" in query["sql"] for query in asked.captured_queries)
