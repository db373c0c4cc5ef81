"""The cast of the release desk, and an image."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.auth.models import Group

from firmware import images
from firmware.operations import groups, releases
from hubs.models import HubModel, Network
from portal.models import User
from tests.factories import HubModelFactory, NetworkFactory, UserFactory

KEY = ec.generate_private_key(ec.SECP256R1())
BLUEPRINT = images.Blueprint(
    manufacturer=0x10A1,
    image_type=0x0001,
    version=0x00010203,
    payload=900,
    minimum_hardware=0x0001,
    maximum_hardware=0x00FF,
)


@pytest.fixture(scope="session")
def content() -> bytes:
    """A valid image."""
    return images.build(blueprint=BLUEPRINT, seed=1, key=KEY)


def _member(group: str, email: str) -> User:
    groups.ensure_groups()
    user = UserFactory(email=email)
    user.groups.add(Group.objects.get(name=group))
    return user


@pytest.fixture
def author(db: None) -> User:
    """A DCC release manager."""
    return _member(groups.RELEASE_MANAGERS, "author@portal.example")


@pytest.fixture
def manager(db: None) -> User:
    """Another DCC release manager."""
    return _member(groups.RELEASE_MANAGERS, "manager@portal.example")


@pytest.fixture
def approver(db: None) -> User:
    """A DCC approver."""
    return _member(groups.APPROVERS, "approver@portal.example")


@pytest.fixture
def auditor(db: None) -> User:
    """A DCC auditor."""
    return _member(groups.AUDITORS, "auditor@portal.example")


@pytest.fixture
def model(db: None) -> HubModel:
    """The hub model that the image is for."""
    return HubModelFactory(name="Hub A", manufacturer=0x10A1, image_type=0x0001)


@pytest.fixture
def north(db: None) -> Network:
    """The North network."""
    return NetworkFactory(code="north")


@pytest.fixture
def particulars(content: bytes, model: HubModel, north: Network) -> Callable[..., releases.Particulars]:
    """What is typed about the image, with whatever a test types otherwise."""

    def build(**typed: Any) -> releases.Particulars:
        return releases.Particulars(
            **{
                "cpl_entry_id": "CPL-0001",
                "name": "Autumn release",
                "version": 0x00010203,
                "digest": images.digest_of([content]),
                "hub_models": [model],
                "minimum_hardware": 0x0001,
                "maximum_hardware": 0x00FF,
                "predecessors": [releases.Step(version=0x00010202, cpl_entry_id="CPL-0000")],
                "notes": "Mends the clock.",
                "contact": "Release desk",
                "periods": [
                    releases.Period(
                        network=north,
                        start_at=datetime(2026, 12, 1, tzinfo=UTC),
                        end_at=datetime(2027, 2, 1, tzinfo=UTC),
                    )
                ],
                **typed,
            }
        )

    return build
