"""Checkpoints that lie elsewhere: read by byte ranges, tried again, and never mixed of two versions of a file."""
