\set id random(1, :slots)
\set patient random(1, 1000000000)
WITH place AS (UPDATE yardstick_slots SET booked_count = booked_count + 1
               WHERE id = :id AND is_active AND booked_count < capacity RETURNING id, doctor_id, clinic_id)
INSERT INTO yardstick_appointments (patient_id, doctor_id, clinic_id, slot_id, booked_by_user_id)
SELECT :patient, doctor_id, clinic_id, id, 1 FROM place;
