"""Tests of what is sealed for the database."""

import pytest

from portal import sealing

KEY, NEXT, OTHER = "a1" * 32, "b2" * 32, "c3" * 32


class TestSeal:
    def test_hides_a_text_that_the_key_opens_again(self) -> None:
        sealed = sealing.seal(text="JBSWY3DP", keys=[KEY])

        assert "JBSWY3DP" not in sealed
        assert sealing.unseal(sealed=sealed, keys=[KEY]) == "JBSWY3DP"

    def test_seals_with_the_first_key(self) -> None:
        sealed = sealing.seal(text="JBSWY3DP", keys=[NEXT, KEY])

        assert sealing.unseal(sealed=sealed, keys=[NEXT]) == "JBSWY3DP"
        with pytest.raises(sealing.UnableToOpen):
            sealing.unseal(sealed=sealed, keys=[KEY])


class TestUnseal:
    def test_opens_what_an_earlier_key_has_sealed(self) -> None:
        sealed = sealing.seal(text="JBSWY3DP", keys=[KEY])

        assert sealing.unseal(sealed=sealed, keys=[NEXT, KEY]) == "JBSWY3DP"

    @pytest.mark.parametrize(
        "change", [lambda sealed: sealed, lambda sealed: sealed[:-3] + "AA=", lambda _: "?"]
    )
    def test_refuses_what_was_sealed_with_another_key_or_changed(self, change: object) -> None:
        sealed = sealing.seal(text="JBSWY3DP", keys=[OTHER])
        assert callable(change)

        with pytest.raises(sealing.UnableToOpen):
            sealing.unseal(sealed=change(sealed), keys=[KEY])
