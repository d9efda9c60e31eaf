"""The module tree: `Tensor` and `Module` with PyTorch's API, made from an `Index` and taken apart into one again."""
