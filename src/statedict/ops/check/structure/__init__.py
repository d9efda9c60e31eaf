"""Whether a file is laid out as its format says, so that all readers see the same in it."""
