"""The figures of each tensor through our library."""

import sys

import statedict

for each in statedict.stats(statedict.open(sys.argv[1])).tensors:
    found = each.summary
    finite = found.finite == found.count
    print(each.name, found.min, found.max, found.mean, found.std, found.zeros, finite)
