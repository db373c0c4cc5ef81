"""The benchmarks still run, and say what they promise to say; how fast they are is not asserted."""

import json
import os
import subprocess
import sys
from typing import Any

from django.conf import settings
from django.db import connection

from portal.management.commands.benchmark import table
from tests.benchmarks.pages import beyond

COST = {"wall_s", "cpu_s", "cpu_us_per_hub", "peak_mb", "hubs_per_s"}
RATIOS = {"ratio", "ratio_wall", "ratio_cpu"}


def benchmark(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run the command as a person does, on the servers of the tests."""
    return subprocess.run(
        [sys.executable, "manage.py", "benchmark", *words],
        cwd=settings.BASE_DIR,
        env=os.environ | {"DATABASE_URL": settings.DATABASE_URL, "REDIS_URL": settings.REDIS_URL},
        capture_output=True,
        text=True,
        check=False,
    )


def result(*words: str) -> dict[str, Any]:
    """Return what a benchmark measured."""
    ended = benchmark(*words, "--json")
    assert ended.returncode == 0, ended.stderr
    assert "benchmark: " in ended.stderr
    [line] = ended.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


class TestFleet:
    def test_says_what_it_measured_and_the_limit_and_leaves_no_database_behind(self, db: None) -> None:
        found = result("fleet", "--hubs", "500")

        assert {"figure": "fleet", "hubs": 500, "repeat": 1}.items() <= found.items()
        assert found["measured"].keys() == COST
        assert found["limit"].keys() == COST | {"statement"}
        assert found.keys() >= RATIOS
        assert found["ratio"] > 0
        with connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE '%benchmark%'")
            assert cursor.fetchall() == []


class TestBooking:
    def test_books_so_many_hubs_twice_and_says_what_it_measured_and_both_limits(self) -> None:
        found = result("booking", "--hubs", "50", "--fleet", "1000", "--repeat", "2")

        assert {"figure": "booking", "hubs": 50, "fleet": 1_000, "repeat": 2}.items() <= found.items()
        assert found["slots"] >= 1
        assert found["measured"].keys() == COST | {"slots_locked_s"}
        assert 0 < found["measured"]["slots_locked_s"] < found["measured"]["wall_s"]
        assert found["limit"].keys() == found["insert_select"]["limit"].keys() == COST | {"statement"}
        assert found["ratio"] > 0
        assert found["insert_select"]["ratio"] > 0

    def test_says_that_the_fleet_is_too_small(self) -> None:
        ended = benchmark("booking", "--hubs", "900", "--fleet", "1000")

        assert ended.returncode == 1
        assert "ask for a larger one with --fleet" in ended.stderr
        assert ended.stdout == ""


class TestExports:
    def test_writes_every_row_in_both_formats_and_says_what_it_measured(self) -> None:
        found = result("exports", "--hubs", "2000")

        assert {"figure": "exports", "hubs": found["hubs"]}.items() <= found.items()
        assert 1_500 < found["hubs"] <= 2_000  # those that are shown
        assert found["measured"].keys() == COST
        assert found["xlsx"].keys() == COST | {"bytes"}
        assert found["bytes"] > 50 * found["hubs"]


class TestUpload:
    def test_accounts_for_every_row_of_both_formats_and_says_what_it_measured(self) -> None:
        found = result("upload", "--hubs", "400", "--fleet", "4000")

        assert {"figure": "upload", "hubs": 400, "fleet": 4_000}.items() <= found.items()
        assert sum(found["verdicts"].values()) == 400
        assert {"eligible", "not_found", "unreadable", "repeated"} <= found["verdicts"].keys()
        assert found["measured"].keys() == COST
        assert found["xlsx"].keys() == COST | {"bytes"}
        hostile = found["hostile"]
        for name in ("csv", "xlsx"):
            assert hostile["rows written"][name] == sum(
                counts[name] for word, counts in hostile.items() if word.startswith("written: ")
            )
            assert hostile["rows written"][name] == hostile["eligible"][name] + hostile["rows returned"][name]
            assert hostile["rows returned"][name] == sum(
                counts[name] for word, counts in hostile.items() if word.startswith("refused: ")
            )
            assert hostile["rows lost"][name] == 0
            for word in ("repeated", "not found", "unreadable", "shortened", "no identifier", "too long"):
                assert hostile[f"refused: {word}"][name] > 0
        assert found["limit"].keys() == COST | {"statement"}
        assert found["ratio"] > 0

    def test_says_that_the_fleet_is_too_small(self) -> None:
        ended = benchmark("upload", "--hubs", "2000", "--fleet", "1000")

        assert ended.returncode == 1
        assert "ask for a larger one with --fleet" in ended.stderr


class TestRegistrations:
    def test_takes_every_row_lets_it_take_effect_and_says_what_it_measured(self) -> None:
        found = result("registrations", "--rows", "400")

        assert {"figure": "registrations", "hubs": 400, "fleet": 600}.items() <= found.items()
        assert found["measured"].keys() == COST
        assert found["taking effect"].keys() == COST | {"deployments"}
        assert found["taking effect"]["deployments"] > 0
        assert found["limit"].keys() == COST | {"statement"}
        assert found["ratio"] > 0


class TestEarlyWarning:
    def test_says_what_each_defect_reaches_and_how_often_a_healthy_release_is_stopped_under_both_rules(
        self,
    ) -> None:
        found = result("early-warning", "--hubs", "2000", "--runs", "20")

        assert {"figure": "early-warning", "hubs": 2_000, "repeat": 20}.items() <= found.items()
        assert found["measured"].keys() == {"wall_s", "cpu_s", "peak_mb"}
        for rule in (found, found["fixed_rule"]):
            assert rule["healthy"]["runs"] == 500
            assert rule["false_alarm_rate"] == rule["healthy"]["false_alarms"] / 500 <= 0.01
            for kind in ("visible", "silent", "one_network"):
                assert list(rule[kind]) == ["1", "2", "5", "20"]
                for row in rule[kind].values():
                    assert row.keys() == {"mean", "p95", "caught", "promised_mean", "promised_p95"}
                    assert 50 <= row["mean"] <= 2_000
        assert found["visible"]["20"]["caught"] == found["silent"]["20"]["caught"] == 1.0
        assert found["visible"]["20"]["mean"] < found["fixed_rule"]["visible"]["20"]["mean"]
        assert found["fixed_rule"]["visible"]["2"] == {
            "mean": 2_000.0,
            "p95": 2_000.0,
            "caught": 0.0,
            "promised_mean": 839,
            "promised_p95": 2_219,
        }
        assert found["silent_without_second_look"].keys() == found["silent"].keys()
        # the promise was made of a million
        assert found["worst_mean_deviation"] is None


class TestPages:
    def test_says_of_pages_how_long_how_many_queries_how_heavy_and_what_moves(self) -> None:
        found = result("pages", "--hubs", "2000", "--only", "home")
        page = found["pages"]["home"]

        assert {"figure": "pages", "hubs": 2_000}.items() <= found.items()
        assert page.keys() == {
            *("p50_ms", "p50_without_walls_ms", "p95_ms", "cpu_ms", "queries", "slowest_query_ms", "bytes"),
            *("first_byte_ms", "received_kb", "layout_shift", "charts"),
        }
        assert page["queries"] > 1
        # what is received beside the document is compressed, and the document is not
        assert page["bytes"] / 1_000 < page["received_kb"] < 300
        assert found["measured"].keys() == {
            *("pages", "p50_ms", "first_byte_ms", "slowest_query_ms", "queries", "received_kb"),
            *("layout_shift", "ratio_to_no_walls"),
        }
        assert found["slowest"]["page"] in found["pages"]
        assert "SELECT" in found["slowest"]["statement"]
        assert found["beyond"].keys() == {"first byte", "received", "layout shift"}

    def test_says_which_are_beyond_their_limits(self) -> None:
        well = {"first_byte_ms": 100.0, "received_kb": 300.0, "layout_shift": 0.1, "charts": False}
        drawn = well | {"received_kb": 700.0, "charts": True}
        found = beyond(
            {
                "well": well,
                "drawn": drawn,
                "slow": well | {"first_byte_ms": 100.1},
                "heavy": well | {"received_kb": 301.0},
                "heavily drawn": drawn | {"received_kb": 701.0},
                "restless": well | {"layout_shift": 0.2},
            }
        )
        assert found == {
            "first byte": "slow (100.1 ms)",
            "received": "heavy (301.0 kB), heavily drawn (701.0 kB)",
            "layout shift": "restless (0.2)",
        }
        assert set(beyond({"well": well, "drawn": drawn}).values()) == {"none"}

    def test_says_that_there_is_no_such_page(self) -> None:
        ended = benchmark("pages", "--hubs", "2000", "--only", "elsewhere")

        assert ended.returncode == 1
        assert "No page has elsewhere in its name" in ended.stderr


class TestRecord:
    def test_says_how_long_it_takes_and_what_it_finds(self) -> None:
        found = result("record", "--hubs", "1000")

        assert {"figure": "record", "decisions": 1_000}.items() <= found.items()
        assert found["measured"].keys() == {"chaining_s", "verify_s", "verify_forged_s"}
        edited, deleted, cut, *also = found["finds"]
        assert "number 334 of the chain, is not what was recorded" in edited
        assert "number 501 of the chain, was deleted" in deleted
        assert cut.startswith("Links 901 to 1000 of the chain are missing.")
        assert "a head of 1000 links was kept" in also[0].lower()


class TestTheCommand:
    def test_names_the_figures_where_there_is_none_of_that_name(self) -> None:
        ended = benchmark("speed")

        assert ended.returncode == 1
        assert "There is no figure speed" in ended.stderr
        assert "booking" in ended.stderr


class TestTable:
    def test_has_a_line_for_each_number_and_indents_what_belongs_together(self) -> None:
        assert table({"hubs": 1_000, "limit": {"cpu_s": None}}) == [
            "hubs                    1,000",
            "limit",
            "  cpu s                 not known",
        ]

    def test_puts_rows_of_the_same_numbers_into_columns(self) -> None:
        head, row = table({"pages": {"home": {"queries": 9, "bytes": 12_345}}})

        assert head.split() == ["pages", "queries", "bytes"]
        assert row.split() == ["home", "9", "12,345"]


class TestRehearsal:
    def test_says_what_the_real_code_and_what_numbers_alone_came_to(self) -> None:
        found = result("rehearsal", "--hubs", "60", "--repeat", "1")

        assert {
            "figure": "rehearsal",
            "hubs": 60,
            "repeat": 1,
            "defect": "5% silent",
        }.items() <= found.items()
        assert found["real"].keys() == {"seed 1"}
        assert 0 < found["real"]["seed 1"]["commanded"] <= 60
        assert found["fast"].keys() == {"commanded", "bad", "hours"}
        assert found["ratio"] > 0
