"""Channels that are really removed, from whole models of known layers in a row, with what depends on them."""
