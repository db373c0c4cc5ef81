"""
What is halted of a release, as the Gate and the sender ask for it: all of it, a network, hub models or versions.

Asked under the release's lock, or again before each handful. A part that is halted is neither staged nor activated;
what has begun in it is read back all the same, since the stages of the rest wait for all outcomes.
"""

from collections.abc import Sequence
from typing import NamedTuple

PARTS = """
       ARRAY(SELECT halt.id FROM firmware_halt halt
             WHERE halt.release_id = release.id AND halt.lifted_at IS NULL ORDER BY halt.id),
       (SELECT count(*) + count(halt.lifted_at) FROM firmware_halt halt WHERE halt.release_id = release.id),
       EXISTS (SELECT FROM firmware_halt halt WHERE halt.release_id = release.id AND halt.lifted_at IS NULL
                 AND halt.network_id = %(network)s),
       ARRAY(SELECT halt.model_id FROM firmware_halt halt WHERE halt.release_id = release.id
               AND halt.lifted_at IS NULL AND halt.model_id IS NOT NULL),
       ARRAY(SELECT halt.installed_version_id FROM firmware_halt halt WHERE halt.release_id = release.id
               AND halt.lifted_at IS NULL AND halt.installed_version_id IS NOT NULL)"""
"""Of a release, and the network of a lot: its standing halts, how often that changed, and what they stop of the lot."""
# Of the model that it was booked as, or of that of which the inventory says that it is.
IN_HALTED_PART = """(%(network_halted)s OR deployment.model_id = ANY (%(models_halted)s::bigint[])
    OR (%(some_are_halted)s AND EXISTS (
        SELECT FROM hubs_communicationshub hub WHERE hub.chf_id = deployment.hub_id
          AND (hub.installed_version_id = ANY (%(versions_halted)s::bigint[])
               OR hub.model_id = ANY (%(models_halted)s::bigint[])))))"""
"""A hub is in a part of its release that is halted."""


class Parts(NamedTuple):
    """What `PARTS` found, in its order."""

    halts: Sequence[int]
    changes: int
    network_halted: bool
    models_halted: Sequence[int]
    versions_halted: Sequence[int]

    @property
    def any(self) -> bool:
        """Whether a halt of a part concerns hubs of the lot."""
        return self.network_halted or bool(self.models_halted) or bool(self.versions_halted)

    @property
    def parameters(self) -> dict[str, object]:
        """Those of `IN_HALTED_PART`."""
        return {
            "network_halted": self.network_halted,
            "models_halted": self.models_halted,
            "versions_halted": self.versions_halted,
            "some_are_halted": bool(self.versions_halted or self.models_halted),
        }
