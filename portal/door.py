"""
What the log says of who comes in, who does not, and who is shown out: one logger, for whoever watches it.

People are named by their ids, bound to the line; nobody by an address, of e-mail or of a machine, nor by what they
typed. Somebody unknown has no id.
"""

import logging

from portal.ground import logs

logger = logging.getLogger(__name__)


def passed(what: str, *, user: int | None) -> None:
    """Say that somebody came in or went, or showed who they are."""
    with logs.bound(user=user):
        logger.info(what)


def refused(what: str, *, user: int | None) -> None:
    """Say that somebody was not let in, or could not show who they are."""
    with logs.bound(user=user):
        logger.warning(what)
