"""Which tensors of one checkpoint are which of another's, and the rules that make the one the other."""
