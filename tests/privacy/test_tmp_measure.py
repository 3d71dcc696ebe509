import time
async def test_measure(world, owner, as_app):
    doctor = await world.doctor(max_patients_per_day=1000)
    pats = await world.patients(1000)
    await owner.execute("SET synchronous_commit=off")
    res = {"on": [], "off": []}
    for rnd in range(6):
        for mode in ("on", "off"):
            slot = await world.slot(doctor, capacity=1000)
            await owner.execute('ALTER TABLE appointments %s TRIGGER "00_appointments_erased"' % ("ENABLE" if mode=="on" else "DISABLE"))
            t=time.perf_counter()
            for p in pats[:400]:
                await owner.execute("INSERT INTO appointments (patient_id, doctor_id, clinic_id, slot_id) VALUES ($1,$2,$3,$4)", p.patient_id, doctor.doctor_id, doctor.clinic_id, slot)
            res[mode].append((time.perf_counter()-t)/400*1e6)
            await owner.execute("UPDATE appointments SET status='cancelled' WHERE status<>'cancelled'")
    print(res, min(res["on"]), min(res["off"])); assert 0
