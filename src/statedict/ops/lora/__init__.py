"""Adapters of low rank, as PEFT keeps them: `folding` adds one to a model, `extraction` finds one between two."""
