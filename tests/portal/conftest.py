"""The cast: northern and southern are Suppliers' people, staff and approver are DCC's."""

from datetime import UTC, datetime

import pytest

from portal.ground import clock
from portal.models import User
from tests.factories import SupplierFactory, UserFactory
from tests.portal.matrix import Asker, Cast
from tests.scheduling import world as worlds


@pytest.fixture
def now() -> datetime:
    """Return half an hour before the clocks go back."""
    return datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@pytest.fixture
def northern(db: None) -> User:
    """Return an operations user of the northern Supplier."""
    return UserFactory.create(
        email="ops@northern.example", supplier=SupplierFactory.create(name="Northern Light Energy")
    )


@pytest.fixture
def southern(db: None) -> User:
    """Return an operations user of another Supplier."""
    return UserFactory.create(
        email="ops@southern.example", supplier=SupplierFactory.create(name="Southern Power")
    )


@pytest.fixture
def staff(db: None) -> User:
    """Return DCC staff with every permission."""
    return UserFactory.create(email="staff@dcc.example", is_superuser=True)


@pytest.fixture
def cast(db: None) -> Cast:
    """One world for all that a test asks: what it asks changes nothing."""
    made = Cast(worlds.make(now=clock.now()))
    made.rows  # noqa: B018 - made before anybody asks
    return made


@pytest.fixture
def asker(cast: Cast) -> Asker:
    """Return one who asks as each of them."""
    return Asker(cast)
