"""The demonstration region: believable clinics, people and appointments, none of them real."""
