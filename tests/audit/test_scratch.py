import time
from health_services.audit.sealer import Sealer
async def test_cost(sealer, written, owner, auditor):
    ins = """INSERT INTO audit_log (nonce, at, user_id, via, action, object, patient_ids, address, outcome, status, request_id, key_id, mac)
      SELECT gen_random_uuid(), now(), 1, 'session:1', 'x', 'patient:1', ARRAY[n % 5000], '127.0.0.1', 'success', 200, 'r', 'test', decode(repeat('00',32),'hex') FROM generate_series(1,$1::bigint) n"""
    for round in range(4):
        await owner.execute(ins, 50_000)
        t = time.perf_counter(); n = 0; p=[]
        while True:
            a = time.perf_counter(); k = await sealer.seal_some(); p.append(time.perf_counter()-a); n += k
            if not k: break
        d = time.perf_counter()-t
        await owner.execute(ins, 100)
        a = time.perf_counter(); await sealer.seal_some(); b = time.perf_counter()-a
        await sealer.seal_some()
        ts=[]
        for _ in range(20):
            a = time.perf_counter(); await sealer.take(2); ts.append(time.perf_counter()-a)
        s = await owner.fetchrow("SELECT count(*) c, max(floor) f FROM audit_seals")
        print(f"round {round}: {n} sealed {n/d:.0f}/s; full batch {1000*sorted(p)[len(p)//2]:.0f} ms; batch of 100 {b*1000:.1f} ms; idle look {1000*sorted(ts)[10]:.1f} ms; rows {s['c']} floor {s['f']}")
    a = time.perf_counter(); 
    rep, said = await auditor.verify(); print("verify", len(said), time.perf_counter()-a)
    await owner.execute("TRUNCATE audit_log, audit_seals")
