"""Bridges to other libraries: the only files that may import one; each loads when its objects are asked for."""
