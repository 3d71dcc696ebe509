"""The practitioners of the directory."""
