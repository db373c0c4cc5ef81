"""The figures of a rollout policy where nobody chose others, by urgency (pure)."""

from collections.abc import Mapping
from typing import Any

from portal.ground.uk_time import Span

STAGE_SIZES = (50, 500, 5_000, 50_000)

_NORMAL: Mapping[str, Any] = {
    "notice_before_opening": Span(20, "working days"),
    "minimum_period": Span(42, "days"),
    "default_allocation_percent": 67,
    "default_allocation_notice": Span(5, "working days"),
}
_URGENT: Mapping[str, Any] = {
    "notice_before_opening": Span(5, "working days"),
    "minimum_period": Span(14, "days"),
    "default_allocation_percent": 33,
    "default_allocation_notice": Span(2, "working days"),
}
BY_URGENCY: Mapping[str, Mapping[str, Any]] = {"normal": _NORMAL, "urgent": _URGENT}
"""What depends on the urgency, by field of RolloutPolicy; the other defaults are the model's own."""
