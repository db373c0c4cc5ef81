"""A signature proves who said exactly this, about now, and in answer to what."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubs import signatures
from hubs.signatures import Forged

NOW = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
NEW, OLD = "n" * 40, "o" * 40
REQUEST = {"method": "POST", "path": "/v1/commands", "body": b"{}\n"}


def headers(secret: str = NEW, **changed):
    given = {**REQUEST, "moment": NOW, "nonce": "0" * 32} | changed
    return signatures.sign_request(secret=secret, **given)


def check(headers, *, secrets=(NEW, OLD), now=NOW, **changed):
    return signatures.check_request(secrets=secrets, headers=headers, now=now, **REQUEST | changed)


class TestCheckRequest:
    @pytest.mark.parametrize("secret", [NEW, OLD])
    def test_believes_either_secret_while_one_is_being_changed(self, secret):
        assert check(headers(secret)).secret == secret

    @pytest.mark.parametrize(
        "changed",
        [
            {"method": "GET"},
            {"path": "/v1/commands?x=1"},
            {"path": "/v1/reports"},
            {"body": b"{}"},
            {"secrets": ["x" * 40]},
            {"secrets": []},
        ],
    )
    def test_does_not_believe_what_differs_in_anything(self, changed):
        with pytest.raises(Forged, match="wrong signature"):
            check(headers(), **changed)

    @pytest.mark.parametrize("name", [signatures.MOMENT, signatures.NONCE, signatures.SIGNATURE])
    def test_does_not_believe_a_header_that_was_changed_or_left_out(self, name):
        signed = headers()
        other = signed[name].translate(str.maketrans("0123456789", "1234567890"))

        with pytest.raises(Forged):
            check(signed | {name: other})
        with pytest.raises(Forged):
            check({key: value for key, value in signed.items() if key != name})

    @pytest.mark.parametrize("seconds", [-60, 0, 60])
    def test_believes_within_the_window(self, seconds):
        assert check(headers(), now=NOW + timedelta(seconds=seconds)).nonce == "0" * 32

    @pytest.mark.parametrize("seconds", [-60.1, 60.1, 86_400])
    def test_does_not_believe_outside_it(self, seconds):
        with pytest.raises(Forged, match="too long ago, or ahead of time"):
            check(headers(), now=NOW + timedelta(seconds=seconds))

    @given(
        st.dictionaries(
            st.sampled_from([signatures.MOMENT, signatures.NONCE, signatures.SIGNATURE]), st.text()
        )
    )
    def test_never_fails_in_another_way(self, given):
        with pytest.raises(Forged):
            check(headers() | {signatures.SIGNATURE: ""} | given)

    def test_shows_the_secret_to_nobody(self):
        assert NEW not in repr(check(headers()))


class TestCheckAnswer:
    REQUEST = headers()[signatures.SIGNATURE]

    def answer(self, **changed):
        return signatures.sign_answer(
            **{"secret": NEW, "request": self.REQUEST, "status": 200, "body": b"yes"} | changed
        )

    def check(self, headers, **changed):
        given = {"secrets": [NEW, OLD], "request": self.REQUEST, "status": 200, "body": b"yes"} | changed
        signatures.check_answer(headers=headers, **given)

    @pytest.mark.parametrize("secret", [NEW, OLD])
    def test_believes_either_secret_while_one_is_being_changed(self, secret):
        self.check(self.answer(secret=secret))

    @pytest.mark.parametrize(
        "changed",
        [
            {"status": 201},
            {"body": b"no"},
            {"secrets": ["x" * 40]},
            {"request": headers(nonce="1" * 32)[signatures.SIGNATURE]},
        ],
    )
    def test_does_not_believe_what_differs_in_anything(self, changed):
        with pytest.raises(Forged, match="wrong signature"):
            self.check(self.answer(), **changed)

    def test_does_not_believe_what_is_not_signed(self):
        with pytest.raises(Forged, match="not signed"):
            self.check({})

    def test_does_not_take_a_request_for_an_answer(self):
        with pytest.raises(Forged):
            self.check({signatures.ANSWER_SIGNATURE: self.REQUEST})
