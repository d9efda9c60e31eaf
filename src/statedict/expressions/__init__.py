"""Tensors that are computed when they are read: casts, sums, products, masks, pieces put together.

`nodes` says what an expression is, `rounding` how its results become elements of a type, `arithmetic` and `arranging`
what can be computed.
"""
