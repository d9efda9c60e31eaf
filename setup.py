"""The C code: where no compiler is, the installation goes on without, and Python and numpy do the same.

STATEDICT_PURE=1 leaves it out, for a wheel that is installed everywhere.
"""

import os

from setuptools import Extension, setup

FLAGS = ["-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden"]
SOURCES = {
    "_accelerated": ["_accelerated"],
    "_headers": ["_headers", "_headers_zip", "_headers_json", "_headers_pickle", "_headers_torch"],
}

PURE = os.environ.get("STATEDICT_PURE") == "1"

setup(
    ext_modules=[]
    if PURE
    else [
        Extension(
            f"statedict.{name}",
            [f"src/statedict/{source}.c" for source in sources],
            depends=[f"src/statedict/{name}.h"] if len(sources) > 1 else [],
            extra_compile_args=FLAGS,
            py_limited_api=True,
            optional=True,
        )
        for name, sources in SOURCES.items()
    ],
    options={} if PURE else {"bdist_wheel": {"py_limited_api": "cp311"}},  # one wheel for Python 3.11 and newer
)
