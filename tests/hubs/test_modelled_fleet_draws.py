"""Draws repeat, and are spread as they say."""

from statistics import median

from hypothesis import given
from hypothesis import strategies as st

from hubs.modelled_fleet.draws import Draws, splitmix64

keys = st.integers(-(2**63), 2**63 - 1)


class TestSplitmix64:
    def test_agrees_with_the_published_sequence(self):
        step = 0x9E3779B97F4A7C15

        assert [splitmix64(step * number % 2**64) for number in range(3)] == [
            0xE220A8397B1DCDAF,
            0x6E789E6AA1B965F4,
            0x06C45D188009454F,
        ]


class TestDraws:
    @given(keys, keys, st.integers(0, 4), st.integers(0, 999), st.integers(0, 2**41))
    def test_repeat_for_the_same_key_and_stay_in_bounds(self, seed, chf_id, phase, attempt, salt):
        one, two = (Draws(seed=seed, chf_id=chf_id, phase=phase, attempt=attempt) for _ in range(2))

        assert 0.0 <= one.uniform(salt=salt) == two.uniform(salt=salt) < 1.0

    def test_differ_when_any_part_of_the_key_does(self):
        key = {"seed": 1, "chf_id": 2, "phase": 3, "attempt": 4}
        drawn = {Draws(**key | {part: 9}).uniform(salt=5) for part in key}
        drawn |= {Draws(**key).uniform(salt=salt) for salt in (5, 6)}

        assert len(drawn) == 6

    def test_happen_as_often_as_their_share(self):
        times = sum(Draws(seed=7, chf_id=16 * hub).happens(share=0.1, salt=1) for hub in range(20_000))

        assert 1_850 < times < 2_150

    def test_never_happen_at_no_share_and_always_at_all(self):
        draws = [Draws(seed=7, chf_id=hub) for hub in range(100)]

        assert not any(draw.happens(share=0.0, salt=1) for draw in draws)
        assert all(draw.happens(share=1.0, salt=1) for draw in draws)

    @given(keys, st.lists(st.tuples(st.floats(0.01, 1.0), st.integers(0, 2**41)), max_size=4))
    def test_say_whether_any_of_several_things_happens(self, chf_id, shares):
        draws = Draws(seed=7, chf_id=chf_id, phase=3, attempt=1)

        expected = any(draws.happens(share=share, salt=salt) for share, salt in shares)
        assert draws.any_happens(shares=shares) is expected

    def test_lie_around_the_median(self):
        drawn = [Draws(seed=7, chf_id=hub).around(median=60.0, spread=0.5, salt=1) for hub in range(5_000)]

        assert 57 < median(drawn) < 63
        assert 0.15 < sum(each > 100 for each in drawn) / 5_000 < 0.16  # 1 - Φ(ln(100/60) / 0.5)

    def test_are_the_median_itself_without_a_spread(self):
        assert Draws(seed=1, chf_id=1).around(median=60.0, spread=0.0, salt=1) == 60.0
