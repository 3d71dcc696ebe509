"""The same service with its own locks taken away: what is left is what the database refuses by itself.

Started as a module, so that worker processes, which import it anew, lose their locks too.
"""

from typing import Any

from sqlalchemy.sql.selectable import GenerativeSelect

from health_services import cli
from health_services.appointment_slots.repository import AppointmentSlotRepository


def _unlocked(query: GenerativeSelect, **_: Any) -> GenerativeSelect:
    return query


async def _at_once(*_: Any) -> None:
    pass


GenerativeSelect.with_for_update = _unlocked  # type: ignore[method-assign,assignment]
AppointmentSlotRepository.wait_for_turn = _at_once  # type: ignore[method-assign,assignment]

if __name__ == "__main__":
    cli.main()
