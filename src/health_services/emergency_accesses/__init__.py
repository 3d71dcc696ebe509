"""Breaking the glass: a doctor opens the record of a patient whom he does not treat."""
