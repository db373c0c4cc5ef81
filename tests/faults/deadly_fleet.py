"""A carrier adapter that takes its own process with it, as a fault in native code would."""

import os
import signal
from collections.abc import Sequence
from datetime import datetime

from hubs.gateway import Command, Receipt
from hubs.modelled_fleet.gateway import ModelledFleet


class DeadlyFleet(ModelledFleet):
    """Kills its process when it is handed one of the hubs that the variable DEADLY_HUBS lists."""

    def send(self, *, commands: Sequence[Command], now: datetime) -> Sequence[Receipt]:
        """Die, or send."""
        deadly = set(map(int, os.environ["DEADLY_HUBS"].split(",")))
        if any(command.hub in deadly for command in commands):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().send(commands=commands, now=now)
