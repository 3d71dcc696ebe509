"""The one list of where personal data stands; a test asks the database's catalogue, so that nothing new escapes it."""

from health_services.privacy.contacts import CONTACTS
from health_services.privacy.records import ACCOUNT, VISITS
from health_services.privacy.sign_ins import SIGN_INS

HOLDINGS = (*ACCOUNT, *VISITS, *CONTACTS, *SIGN_INS)

# Every other table, and why it tells nothing of a person.
IMPERSONAL = {
    "clinics": "the public directory: places",
    "appointment_slots": "the public directory: what a doctor offers",
    "doctor_days": "counts, without persons",
    "installation": "this installation's own name",
    "audit_seals": "numbers and seals over the audit",
    "alembic_version": "the schema's version",
}
