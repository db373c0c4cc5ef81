"""What is written is read again, and what makes no sense is said to, and does no harm."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubs import wire
from hubs.gateway import (
    Command,
    Outcome,
    Phase,
    Receipt,
    ReceivedCommand,
    Report,
    Sighting,
    UnreadableReport,
    Verdict,
)

BIGINT, SMALLINT, VERSION = 2**63 - 1, 2**15 - 1, 2**32 - 1

moments = st.datetimes(timezones=st.just(UTC))
hubs = st.integers(-(2**63), BIGINT)
commands = st.builds(
    Command,
    deployment=st.integers(0, BIGINT),
    phase=st.sampled_from(Phase),
    attempt=st.integers(0, SMALLINT),
    hub=hubs,
    lot=st.integers(0, BIGINT),
    token=st.integers(0, BIGINT),
    valid_until=moments,
    digest=st.just("") | st.text("0123456789abcdef", min_size=64, max_size=64),
    version=st.integers(0, VERSION),
)
receipts = st.builds(
    Receipt,
    st.integers(0, BIGINT),
    st.sampled_from(Phase),
    st.integers(0, SMALLINT),
    st.sampled_from(Verdict),
)
reports = st.builds(
    Report,
    id=st.integers(0, BIGINT),
    deployment=st.integers(0, BIGINT),
    phase=st.sampled_from(Phase),
    attempt=st.integers(0, SMALLINT),
    hub=hubs,
    outcome=st.sampled_from(Outcome),
    version=st.none() | st.integers(0, VERSION),
    observed_at=moments,
)
entries = st.builds(
    ReceivedCommand,
    position=st.integers(0, BIGINT),
    deployment=st.integers(0, BIGINT),
    phase=st.sampled_from(Phase).map(int),
    attempt=st.integers(0, SMALLINT),
    hub=hubs,
    digest=st.just("") | st.text("0123456789abcdef", min_size=64, max_size=64),
    version=st.integers(0, VERSION),
    received_at=moments,
    valid_until=moments,
    is_accepted=st.booleans(),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)

COMMAND = Command(
    2048, Phase.STAGE, 1, 0x00DB1234567890A0, 1, 7, datetime(2026, 3, 29, tzinfo=UTC), "ab" * 32, 5
)
REPORT = Report(
    9, 2048, Phase.READ, 1, 0x00DB1234567890A0, Outcome.DONE, 5, datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
)


def changed(written: bytes, **fields: object) -> bytes:
    """Return the line with other fields; those of `...` are left out."""
    line = json.loads(written) | fields
    return json.dumps({name: value for name, value in line.items() if value is not ...}).encode()


class TestCommands:
    @given(st.lists(commands))
    def test_survive_the_way(self, sent):
        assert wire.read_commands(wire.write_commands(sent)) == sent

    def test_are_written_for_people_and_for_any_reader(self):
        assert json.loads(wire.write_commands([COMMAND])) == {
            "deployment": 2048,
            "phase": "stage",
            "attempt": 1,
            "hub": "00-DB-12-34-56-78-90-A0",
            "lot": 1,
            "token": 7,
            "valid_until": "2026-03-29T00:00:00+00:00",
            "digest": "ab" * 32,
            "version": 5,
        }

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"phase": "melt"}, "phase is none of read, stage, activate, verify"),
            ({"hub": 5}, "hub is not a text"),
            ({"hub": "00-DB"}, "hub is not a CHF ID"),
            ({"token": ...}, "token is missing"),
            ({"token": True}, "token is not a whole number"),
            ({"token": 1.0}, "token is not a whole number"),
            ({"attempt": SMALLINT + 1}, "attempt is not a whole number from 0 to 32767"),
            ({"lot": -1}, "lot is not a whole number"),
            ({"digest": "AB" * 32}, "digest is not a SHA-256"),
            ({"digest": "ab" * 32 + "\n"}, "digest is not a SHA-256"),
            ({"valid_until": "tomorrow"}, "valid_until is not a moment"),
            ({"valid_until": "2026-03-29T00:30:00"}, "valid_until has no offset"),
        ],
    )
    def test_are_refused_together_with_the_line_and_the_reason(self, fields, reason):
        body = wire.write_commands([COMMAND]) + changed(wire.write_commands([COMMAND]), **fields)

        with pytest.raises(wire.Unreadable, match=f"line 2: {reason}"):
            wire.read_commands(body)

    @given(st.binary() | anything.map(lambda value: json.dumps(value).encode()))
    def test_are_never_refused_in_another_way(self, body):
        with suppress(wire.Unreadable):
            assert wire.read_commands(body) == []


class TestReceipts:
    @given(st.lists(receipts))
    def test_survive_the_way(self, sent):
        assert wire.read_receipts(wire.write_receipts(sent)) == sent

    def test_with_an_unknown_verdict_are_refused(self):
        body = wire.write_receipts([Receipt(2048, Phase.READ, 1, Verdict.ACCEPTED)])

        with pytest.raises(wire.Unreadable, match="verdict is none of accepted, stale_token, expired"):
            wire.read_receipts(changed(body, verdict="maybe"))


class TestReports:
    @given(st.lists(reports))
    def test_survive_the_way(self, sent):
        assert wire.read_reports(wire.write_reports(sent)) == sent

    @given(st.binary())
    def test_are_reports_or_unreadable_whatever_the_bytes(self, body):
        read = wire.read_reports(body)

        assert len(read) <= body.count(b"\n") + 1
        assert all(isinstance(each, UnreadableReport) for each in read)

    @given(reports, st.sampled_from(list(json.loads(wire.write_reports([REPORT])))), anything)
    def test_are_reports_or_unreadable_whatever_a_field_holds(self, report, name, value):
        [read] = wire.read_reports(changed(wire.write_reports([report]), **{name: value}))

        match read:
            case Report():
                assert wire.read_reports(wire.write_reports([read])) == [read]
            case UnreadableReport():
                assert name in read.reason
                assert read.id == (None if name == "id" else report.id)
                assert read.text.isascii()
                assert read.text.isprintable()

    @pytest.mark.parametrize(
        "fields",
        [
            {"phase": "melt"},
            {"phase": ["read"]},
            {"outcome": "exploded"},
            {"outcome": 1},
            {"deployment": BIGINT + 1},
            {"deployment": -1},
            {"attempt": SMALLINT + 1},
            {"attempt": None},
            {"attempt": 1.5},
            {"hub": ...},
            {"hub": "00-DB-12-34-56-78-90-A0-B0"},
            {"version": VERSION + 1},
            {"version": -1},
            {"version": ...},
            {"observed_at": ...},
            {"observed_at": "30 March"},
            {"observed_at": "2026-03-29T00:30:00"},
            {"observed_at": "0001-01-01T00:00:00+14:00"},
            {"observed_at": "9999-12-31T23:59:59-12:00"},
            {"observed_at": 0},
        ],
    )
    def test_that_make_no_sense_cost_their_own_line_only(self, fields):
        good = wire.write_reports([REPORT])

        before, bad, after = wire.read_reports(good + changed(good, **fields) + b"\n" + good)

        assert before == after == REPORT
        assert isinstance(bad, UnreadableReport)
        assert bad.id == REPORT.id
        assert next(iter(fields)) in bad.reason

    @pytest.mark.parametrize(
        "line", [b"{", b"[]", b"17", b"\xff\xfe", b"[" * 100_000, b'{"id": 1e999}', b"1" * 9_999]
    )
    def test_without_an_id_are_unreadable_all_the_same(self, line):
        bad, good = wire.read_reports(line + b"\n" + wire.write_reports([REPORT]))

        assert isinstance(bad, UnreadableReport)
        assert bad.id is None
        assert len(bad.text) <= wire.TEXT_LIMIT
        assert good == REPORT

    def test_take_any_offset_for_the_same_moment(self):
        moment = REPORT.observed_at.astimezone(timezone(timedelta(hours=1))).isoformat()

        assert wire.read_reports(changed(wire.write_reports([REPORT]), observed_at=moment)) == [REPORT]

    def test_may_say_more_than_is_asked(self):
        assert wire.read_reports(changed(wire.write_reports([REPORT]), signal_strength=-70)) == [REPORT]

    def test_quote_nothing_that_a_database_or_a_log_could_choke_on(self):
        line = b'{"id": 1, "phase": "\x00\x1b[31m\r\xff\xed\xa0\x80"}'

        [read] = wire.read_reports(line)

        assert read.text == r'{"id": 1, "phase": "\x00\x1b[31m\x0d\xff\xed\xa0\x80"}'


class TestLog:
    @given(st.lists(entries))
    def test_survives_the_way(self, sent):
        assert wire.read_log(wire.write_log(sent)) == sent

    @given(st.binary() | anything.map(lambda value: json.dumps(value).encode()))
    def test_is_never_refused_in_another_way(self, body):
        with suppress(wire.Unreadable):
            assert wire.read_log(body) == []


class TestLooks:
    @given(st.lists(st.builds(Sighting, hubs, st.booleans(), st.none() | st.integers(0, wire.FILE_VERSION))))
    def test_survive_the_way(self, seen):
        assert wire.read_sightings(wire.write_sightings(seen)) == seen
        asked = [one.hub for one in seen]
        assert wire.read_hubs(wire.write_hubs(asked)) == asked

    @given(st.binary() | anything.map(lambda value: json.dumps(value).encode()))
    def test_are_never_refused_in_another_way(self, body):
        for read in (wire.read_sightings, wire.read_hubs):
            with suppress(wire.Unreadable):
                assert read(body) == []


class TestAcknowledgement:
    @given(st.lists(st.integers(0, BIGINT)))
    def test_survives_the_way(self, ids):
        assert wire.read_acknowledgement(wire.write_acknowledgement(ids)) == ids

    def test_names_numbers_only(self):
        with pytest.raises(wire.Unreadable, match="line 2: id is not a whole number"):
            wire.read_acknowledgement(b'{"id": 1}\n{"id": "2"}')


class TestRefusal:
    def test_survives_the_way(self):
        assert wire.read_refusal(wire.write_refusal("line 2: token is missing")) == "line 2: token is missing"

    @given(st.binary() | anything.map(lambda value: json.dumps({"error": value}).encode()))
    def test_is_short_and_printable_whatever_came(self, body):
        reason = wire.read_refusal(body)

        assert len(reason) <= wire.TEXT_LIMIT
        assert reason.isascii()
        assert reason.isprintable()


def test_the_same_hub_is_never_two():
    upper = COMMAND._replace(hub=-1)

    assert wire.read_commands(wire.write_commands([upper])) == [upper]
