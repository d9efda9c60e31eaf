"""What may be wrong with a checkpoint: one file for each part of it that is looked at."""
