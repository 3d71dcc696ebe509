"""What has to hold in the database after any load, in SQL."""

import asyncpg

BROKEN = {
    "a slot's booked_count is not the number of its appointments, or more than its capacity": """
        SELECT count(*) FROM appointment_slots s
        FULL JOIN (SELECT slot_id, count(*) AS n FROM appointments WHERE status <> 'cancelled' GROUP BY 1) a
               ON a.slot_id = s.id
        WHERE booked_count IS DISTINCT FROM COALESCE(n, 0) OR booked_count > capacity""",
    "a doctor's day is not the number of its appointments, or over its limit": """
        SELECT count(*) FROM doctor_days d
        FULL JOIN (SELECT s.doctor_id, s.local_date, count(*) AS n FROM appointments a
                   JOIN appointment_slots s ON s.id = a.slot_id WHERE a.status <> 'cancelled' GROUP BY 1, 2) a
            USING (doctor_id, local_date)
        WHERE COALESCE(booked_count, 0) <> COALESCE(n, 0) OR booked_count > max_patients""",
    "one person has a place twice": """
        SELECT count(*) FROM (SELECT FROM appointments WHERE status IN ('pending', 'confirmed')
                              GROUP BY slot_id, patient_id HAVING count(*) > 1) twice""",
}


async def faults(owner_url: str) -> list[str]:
    """What does not hold, in words."""
    owner = await asyncpg.connect(owner_url, command_timeout=3600)
    try:
        counts = {name: await owner.fetchval(query) for name, query in BROKEN.items()}
    finally:
        await owner.close()
    return [f"{name}: {count} rows" for name, count in counts.items() if count]


async def appointments(owner_url: str) -> int:
    """How many there are."""
    owner = await asyncpg.connect(owner_url, command_timeout=3600)
    try:
        return int(await owner.fetchval("SELECT count(*) FROM appointments"))
    finally:
        await owner.close()
