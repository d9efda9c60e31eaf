"""The catalogue of a zoo: what many checkpoints hold, in one database that is asked in moments."""
