"""What the carrier has said that it took: all that the Gate stamped at once, or command by command."""

from portal.ground import sql
from scheduling.models import LOT_SPAN

NOT_RECEIVED = f"""(command.verdict IS NULL AND NOT EXISTS (
    SELECT FROM scheduling_handover handover
    WHERE handover.lot_id = command.deployment_id / {LOT_SPAN} AND handover.token = command.token
      AND handover.stamped_at = command.sent_at))"""
"""A command without a receipt: nobody knows whether it has arrived."""

HANDED_OVER = sql.Often("""
INSERT INTO scheduling_handover (lot_id, token, stamped_at) VALUES (%(lot)s, %(token)s, %(taken_at)s)
""")
"""The carrier has taken every command of the lot that this holder stamped at that moment."""
