"""Which weights are pruned: exactly so many by magnitude, at random, N of M or whole slices."""
