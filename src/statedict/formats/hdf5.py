"""HDF5: groups as modules, datasets as tensors, attributes as attributes; and Keras's two layouts of it.

`model.save("x.h5")`, and Keras before version 3, list layers and weights by name, with the model's config beside them;
`save_weights("x.weights.h5")` of Keras 3 numbers a layer's variables under `vars`. Names are the file's own, where
slashes become dots; of the former, `dense/dense/kernel:0` becomes `dense.kernel`. Only values in chunks need h5py.
"""

from statedict.formats import _keras
from statedict.formats._hdf5 import MAGIC, tree
from statedict.index import Index
from statedict.limits import Limits
from statedict.source import Source


def sniff(head: bytes, source: Source) -> bool:
    """Whether the file begins with the signature of HDF5, or as MATLAB's, which puts a text before it."""
    return head.startswith((MAGIC, b"MATLAB 7.3 MAT-file"))


def read(source: Source, limits: Limits) -> Index:
    """The index of an HDF5 file. Raises FormatError where it is damaged."""
    return _keras.index_of(tree(source, limits, source.name), "hdf5", source, limits)
