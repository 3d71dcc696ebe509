"""The invariants of the booking, asked of the database itself; every query must answer no row."""

INVARIANTS = {
    "booked_count lies between 0 and capacity": """
        SELECT id FROM appointment_slots WHERE booked_count < 0 OR booked_count > capacity""",
    "booked_count is the number of appointments that are not cancelled": """
        SELECT s.id FROM appointment_slots s
        WHERE s.booked_count <> (SELECT count(*) FROM appointments a
                                 WHERE a.slot_id = s.id AND a.status <> 'cancelled')""",
    "is_booked is exactly booked_count >= capacity": """
        SELECT id FROM appointment_slots WHERE is_booked IS DISTINCT FROM (booked_count >= capacity)""",
    "a patient has at most one live appointment per slot": """
        SELECT slot_id, patient_id FROM appointments WHERE status IN ('pending', 'confirmed')
        GROUP BY slot_id, patient_id HAVING count(*) > 1""",
    "active slots of one doctor never overlap": """
        SELECT a.id, b.id FROM appointment_slots a JOIN appointment_slots b
          ON a.doctor_id = b.doctor_id AND a.id < b.id AND a.is_active AND b.is_active
         AND a.slot_datetime < b.slot_datetime + make_interval(mins => b.duration_minutes)
         AND b.slot_datetime < a.slot_datetime + make_interval(mins => a.duration_minutes)""",
    "a doctor's day holds no more than his limit": """
        SELECT s.doctor_id, (s.slot_datetime AT TIME ZONE c.time_zone)::date
        FROM appointments a JOIN appointment_slots s ON s.id = a.slot_id
        JOIN clinics c ON c.id = s.clinic_id JOIN doctors d ON d.id = s.doctor_id
        WHERE a.status <> 'cancelled' AND s.slot_datetime > now() - interval '1 day'
        GROUP BY s.doctor_id, 2, d.max_patients_per_day HAVING count(*) > d.max_patients_per_day""",
    "a doctor's day counts its appointments": """
        SELECT y.doctor_id, y.local_date FROM doctor_days y
        WHERE y.booked_count <> (SELECT count(*) FROM appointments a JOIN appointment_slots s ON s.id = a.slot_id
                                 WHERE s.doctor_id = y.doctor_id AND s.local_date = y.local_date
                                   AND a.status <> 'cancelled')""",
    "a slot's day is the clinic's day": """
        SELECT s.id FROM appointment_slots s JOIN clinics c ON c.id = s.clinic_id
        WHERE s.slot_datetime > now()
          AND s.local_date <> (s.slot_datetime AT TIME ZONE c.time_zone)::date""",
    "nobody holds a place in a slot that was taken back": """
        SELECT a.id FROM appointments a JOIN appointment_slots s ON s.id = a.slot_id
        WHERE NOT s.is_active AND a.status IN ('pending', 'confirmed')""",
    "an appointment's doctor and clinic are the slot's": """
        SELECT a.id FROM appointments a JOIN appointment_slots s ON s.id = a.slot_id
        WHERE (a.doctor_id, a.clinic_id) <> (s.doctor_id, s.clinic_id)""",
}
