"""Tests of `statedict.ops.match`."""
