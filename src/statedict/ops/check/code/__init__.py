"""What a file would run when a program loads it: found without running it, and graded."""
