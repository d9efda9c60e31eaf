"""Fuzzing of everything that reads what strangers write: `python -m fuzz TARGET --seconds 60`, or `make fuzz`."""
