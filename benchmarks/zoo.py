"""A catalogue of many small checkpoints in planted families: adding them, asking it, and whether all is found.

python -m benchmarks.zoo 100000
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from statedict.catalog.adding import add, processes
from statedict.catalog.asking import duplicates, find
from statedict.catalog.database import Catalog
from statedict.catalog.relating import families
from tests.catalog.zoo import Zoo, plant


def timed(what: str, run: Callable[[], Any]) -> Any:
    """What a function returns; prints how long it took."""
    start = time.perf_counter()
    found = run()
    print(f"{what}: {time.perf_counter() - start:.2f} s", flush=True)
    return found


def measure(folder: Path, count: int) -> bool:
    """Print the times of all steps. Whether duplicates and lineage are those that were planted."""
    zoo: Zoo = timed(f"write {count:,} checkpoints", lambda: plant(folder / "models", count))
    for prints in (False, True):
        with Catalog(folder / f"{prints}.duckdb", create=True) as catalog, processes(None) as pool:
            start = time.perf_counter()
            found = add(catalog, [str(folder / "models")], prints=prints, executor=pool)
            seconds = time.perf_counter() - start
            what = "headers and digests" if prints else "headers"
            print(f"add, {what}: {seconds:.1f} s, {found.added / seconds:,.0f} checkpoints a second", flush=True)
    print(f"catalogue: {(folder / 'True.duckdb').stat().st_size / 2**20:.0f} MiB")
    with Catalog(folder / "True.duckdb", create=True) as catalog:
        timed("add again", lambda: add(catalog, [str(folder / "models")], prints=True))
    with Catalog(folder / "True.duckdb") as catalog:
        same = timed("duplicates", lambda: duplicates(catalog))
        lines = timed("lineage of all", lambda: families(catalog))
        one = str(next((folder / "models").rglob("*-9.safetensors")))
        timed("lineage of one", lambda: families(catalog, one))
        timed("find by shape", lambda: find(catalog, shape=[8, 32]))
        timed("find by name", lambda: find(catalog, name="*.1.weight"))
        timed("find by digest", lambda: find(catalog, digest=same.largest[0].digest))
        timed("SQL", lambda: catalog.asked("SELECT dtype, count(*), sum(nbytes) FROM tensors GROUP BY ALL"))
    parents = {Path(name).name: Path(said["parent"]).name for _, name, said in lines if said}
    right = sum(zoo.parents.get(name) == parent for name, parent in parents.items())
    print(f"duplicates: {same.tensors:,} of {zoo.duplicated:,}; bytes saved {same.saved:,} of {zoo.saved:,}")
    print(f"lineage: {right:,} of {len(zoo.parents):,} parents right, {len(parents) - right:,} wrong")
    return (same.tensors, same.saved, parents) == (zoo.duplicated, zoo.saved, zoo.parents)


def main() -> None:
    """Measure in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    with tempfile.TemporaryDirectory() as folder:
        exact = measure(Path(folder), parser.parse_args().count)
    print("all as planted" if exact else "NOT as planted")


if __name__ == "__main__":
    main()
