"""Tests of what makes the environment: mostly of how it ends when it cannot."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import manage
from portal import bootstrap


class TestIsReady:
    @pytest.mark.parametrize("command", ["test", "demo", "migrate"])
    def test_is_true_in_the_environment_of_the_tests(self, command: str) -> None:
        assert bootstrap.is_ready(command=command)

    def test_is_false_where_a_package_has_another_version(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock = tmp_path / "requirements.lock"
        lock.write_text(bootstrap.LOCK.read_text().replace("\ndjango==5.", "\ndjango==4."))
        monkeypatch.setattr(bootstrap, "LOCK", lock)

        assert not bootstrap.is_ready(command="migrate")

    def test_is_false_where_only_the_servers_are_missing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock = tmp_path / "requirements.lock"
        lock.write_text(bootstrap.LOCK.read_text().replace("\nvalkeylite==", "\nvalkeylite==0."))
        monkeypatch.setattr(bootstrap, "LOCK", lock)

        assert bootstrap.is_ready(command="migrate")
        assert not bootstrap.is_ready(command="demo")


class TestPlainErrors:
    def test_makes_a_sentence_of_a_full_disk(self) -> None:
        full = Path("/dev/full")  # the system's own full disk

        with pytest.raises(SystemExit, match="The disk is full: free some space"), bootstrap.plain_errors():
            full.write_text("more")

    def test_makes_a_sentence_of_a_full_disk_that_postgresql_met(self) -> None:
        with pytest.raises(SystemExit, match="The disk is full"), bootstrap.plain_errors():
            raise RuntimeError('could not extend file "base/5/1": No space left on device')

    def test_leaves_the_portal_s_own_errors_as_they_are(self) -> None:
        with pytest.raises(ZeroDivisionError), bootstrap.plain_errors():
            raise ZeroDivisionError

    def test_ends_a_ctrl_c_without_a_traceback(self) -> None:
        with pytest.raises(SystemExit) as ended, bootstrap.plain_errors():
            raise KeyboardInterrupt

        assert ended.value.code == 130


class TestEnterEnvironment:
    def run(self, checkout: Path, before: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run the real thing in a checkout of nothing else, with a lock that nothing here fulfils."""
        (checkout / "portal").mkdir(parents=True)
        for name in ("__init__.py", "bootstrap.py"):
            (checkout / "portal" / name).write_text((bootstrap.BASE_DIR / "portal" / name).read_text())
        (checkout / "requirements.lock").write_text(
            "".join(f"{name}==0.0.0 \\\n    --hash=sha256:{'0' * 64}\n" for name in bootstrap.TELLING)
        )
        program = (
            f"{before}\nfrom portal import bootstrap\n"
            "with bootstrap.plain_errors(): bootstrap.enter_environment(command='migrate')"
        )
        return subprocess.run(
            [sys.executable, "-c", program],
            cwd=checkout,
            env={"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def test_names_the_package_to_install_where_ensurepip_is_missing(self, tmp_path: Path) -> None:
        ended = self.run(tmp_path / "a checkout", "import sys; sys.modules['ensurepip'] = None")

        assert ended.returncode == 1
        assert ended.stderr.splitlines()[-1].endswith(
            "(on Debian and Ubuntu: apt install python3-venv), then run the same command again."
        )
        assert "Traceback" not in ended.stderr

    def test_says_what_to_check_where_the_packages_cannot_be_had(self, tmp_path: Path) -> None:
        ended = self.run(tmp_path / "a checkout")

        assert ended.returncode == 1
        assert "check that this machine reaches its package index" in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr
        assert not (tmp_path / "a checkout" / ".venv").exists()

    def test_does_not_start_over_for_ever(self, tmp_path: Path) -> None:
        ended = self.run(tmp_path / "a checkout", PORTAL_BOOTSTRAPPED="1")

        assert ended.returncode == 1
        assert "remove that folder, then run the same command again" in ended.stderr


class TestManagePy:
    def test_refuses_an_old_python_with_a_sentence(self) -> None:
        program = "import runpy, sys; sys.version_info = (3, 10, 1); runpy.run_path('manage.py')"

        ended = subprocess.run(
            [sys.executable, "-c", program],
            cwd=bootstrap.BASE_DIR,
            capture_output=True,
            text=True,
            check=False,
        )

        assert ended.returncode == 1
        assert ended.stderr.startswith("The portal needs Python 3.11 or newer")
        assert "Traceback" not in ended.stderr

    @pytest.mark.parametrize(("secret", "mode"), [("", "true"), ("kept elsewhere", None)])
    def test_rehearses_without_settings_where_no_portal_is_set_up(
        self, monkeypatch: pytest.MonkeyPatch, secret: str, mode: str | None
    ) -> None:
        def stop(*, command: str) -> None:
            raise InterruptedError(command)

        environment = {"SECRET_KEY": secret}
        monkeypatch.setattr(os, "environ", environment)
        monkeypatch.setattr(sys, "argv", ["manage.py", "rehearse"])
        monkeypatch.setattr(bootstrap, "enter_environment", stop)

        with pytest.raises(InterruptedError, match="rehearse"):
            manage.main()

        assert environment.get("DEMO") == mode
