"""A checkpoint of several files, written so that a reader of the folder finds the old one or the new one whole.

The last file of a save is the switch: an index, or the one file that holds everything. In a folder that has files
already, all new ones are written in a temporary folder inside; those that the switch refers to are then linked into
their places, under names that nothing had; the switch is renamed into its place; what only the old checkpoint needed
goes. At each moment the temporary folder tells whoever finds it, after a kill, what is left to be undone or done:

    .NAME.XXXX.statedict-tmp/            the new files, which also have their final names once they are linked
    .NAME.XXXX.statedict-tmp/switch/     the last file, until it is renamed: before that, the old checkpoint counts
    .NAME.XXXX.statedict-tmp/old/        second names of the files that go, made just before the switch
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from statedict.errors import WriteError
from statedict.executors import Rehearsal, Rehearsed
from statedict.index import shown
from statedict.limits import DEFAULT_LIMITS
from statedict.narrow import is_dict
from statedict.plan import Plan
from statedict.remote.places import Place, RemotePlace
from statedict.writing.faults import cleaned_up, require_folder, require_room, told
from statedict.writing.files import announce, write_new
from statedict.writing.progress import Progress
from statedict.writing.temporary import for_dead_folders, one_at_a_time, remove_dead, sync_folder, temporary_folder

Plans = Mapping[str, Plan] | Callable[[frozenset[str]], Mapping[str, Plan]]
"""The files by name, the switch last; or what makes them, given the names that are in the folder already."""
_INDEX_SUFFIX = ".index.json"
_MOST_OF_INDEX = DEFAULT_LIMITS.header_bytes
_SWITCH, _OLD = "switch", "old"


def write_folder(
    plans: Plans,
    folder: Place,
    *,
    replaced: Iterable[str] = (),
    verify: bool = False,
    durable: bool = True,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> None:
    """Make `folder` hold the files of `plans`, visible all at once with the last one; other files in it stay.

    In a folder that exists, every file but the last needs a name that is not in it. Of the old checkpoint, what its
    index named goes, and so do the files that `replaced` names. Raises as `write_file` does, and leaves what was there.
    """
    if isinstance(executor, Rehearsal):
        made = tuple(named_plans(plans, frozenset(), folder).values())
        raise Rehearsed(plans=made, target=folder if isinstance(folder, Path) else None)
    if isinstance(folder, RemotePlace):
        from statedict.writing.uploads import upload_folder  # which few need

        upload_folder(plans, folder, verify=verify, progress=progress, executor=executor)
        return
    how = _How(progress, executor, verify, durable)
    with told(folder), cleaned_up():
        target = Path(os.path.realpath(folder))
        require_folder(target.parent)
        remove_dead(target)
        if target.is_dir():
            with one_at_a_time(target):
                _write_into(plans, target, frozenset(replaced), how)
        elif target.exists():
            raise WriteError(f"{folder}: is a file; name a folder")
        else:
            _write_new(plans, target, how)


class _How(NamedTuple):
    """What all files are written by."""

    progress: Progress | None
    executor: Executor | None
    verify: bool
    durable: bool


def _write_new(plans: Plans, folder: Path, how: _How) -> None:
    """Write all of a folder beside its place, and rename it."""
    named = named_plans(plans, frozenset(), folder)
    with temporary_folder(folder) as temporary:
        _write_all(named, {name: temporary / name for name in named}, folder, how)
        sync_folder(temporary)
        temporary.rename(folder)
    sync_folder(folder.parent)


def _write_into(plans: Plans, folder: Path, replaced: frozenset[str], how: _How) -> None:
    """Write into a folder that others read meanwhile."""
    for_dead_folders(folder, lambda dead: settle(dead, folder))
    named = named_plans(plans, frozenset(entry.name for entry in folder.iterdir()), folder)
    *names, switch = named
    with temporary_folder(folder / switch) as temporary:
        (temporary / _SWITCH).mkdir()
        places = {name: temporary / name for name in names} | {switch: temporary / _SWITCH / switch}
        _write_all(named, places, folder, how)
        try:
            for name in names:
                _place(places[name], folder / name)
            sync_folder(folder)
            here = [path.name for path in folder.iterdir() if path.is_file()]
            old = [*obsolete(switch, here, _reading(folder)), *sorted(replaced & set(here))]
            going = [name for name in dict.fromkeys(old) if name not in named]
            _note(going, folder, temporary / _OLD)
            places[switch].rename(folder / switch)
            sync_folder(folder)
            for name in going:
                (folder / name).unlink(missing_ok=True)
        finally:
            settle(temporary, folder)


def settle(temporary: Path, folder: Path) -> None:
    """Bring a save that ended at any moment to its end, or back to its begin, and remove what is left of it."""
    import shutil  # which brings what packs archives

    if (temporary / _SWITCH).is_dir() and any((temporary / _SWITCH).iterdir()):
        # Before the switch: the old files stay, and are forgotten before anything that says so goes.
        shutil.rmtree(temporary / _OLD, ignore_errors=True)
        sync_folder(temporary)
        _remove_seconds(temporary, folder)
    elif (temporary / _OLD).is_dir():
        _remove_seconds(temporary / _OLD, folder)
    shutil.rmtree(temporary, ignore_errors=True)


def _remove_seconds(names: Path, folder: Path) -> None:
    """Remove from `folder` those files that have a second name among `names`, indexes first."""
    for name in sorted(os.listdir(names), key=_indexes_first):  # noqa: PTH208 - names are enough
        with suppress(OSError):
            if (names / name).is_file() and (names / name).samefile(folder / name):
                (folder / name).unlink()


def _indexes_first(name: str) -> bool:
    """A sorting key: an index must not outlive what it refers to."""
    return not name.endswith(_INDEX_SUFFIX)


def named_plans(plans: Plans, taken: frozenset[str], folder: Place) -> Mapping[str, Plan]:
    """The plans by name. Raises WriteError where one but the last has a name that is taken."""
    named = plans(taken) if callable(plans) else plans
    *names, _ = named
    if there := [name for name in names if name in taken]:
        raise WriteError(f"{folder}: holds `{shown(there[0])}` already; choose an empty folder, or other names")
    if away := [name for name in named if "/" in name or name in (_SWITCH, _OLD, ".", "..")]:
        raise ValueError(f"`{away[0]}` is no name for a file of a checkpoint")
    return named


def _write_all(named: Mapping[str, Plan], places: Mapping[str, Path], folder: Path, how: _How) -> None:
    size = sum(plan.size for plan in named.values())
    require_room(folder, folder if folder.exists() else folder.parent, size)
    announce(how.progress, size, verify=how.verify)
    for name, plan in named.items():
        write_new(plan, places[name], folder / name, how.progress, how.executor, verify=how.verify, durable=how.durable)


def _place(written: Path, path: Path) -> None:
    """Give a file its final name, which must be free, and keep the other until all is done."""
    try:
        os.link(written, path)
    except FileExistsError:
        raise
    except OSError:  # a file system where a file has one name: what a kill leaves there, stays
        written.rename(path)


def _note(names: Iterable[str], folder: Path, noted: Path) -> None:
    """Note, by second names in the folder `noted`, which files go."""
    noted.mkdir()
    for name in names:
        with suppress(OSError):  # as above
            os.link(folder / name, noted / name)
    sync_folder(noted)


def obsolete(switch: str, names: Iterable[str], read: Callable[[str], bytes]) -> list[str]:
    """The files of a folder that no checkpoint needs once the switch is in its place, indexes first.

    Readers disagree on whether `model.safetensors` or an index of its shards counts. So the other one of the two goes
    after the switch, and before any shard: whoever reads meanwhile finds one checkpoint or the other, and all of it.
    """
    here = set(names)
    single = switch.removesuffix(_INDEX_SUFFIX)
    index = single + _INDEX_SUFFIX
    others = [name for name in here if fnmatchcase(name, "*.index*.json") and name != index]
    needed = {name for other in others for name in _shards(other, read)}
    # An index may claim any file to be a shard of it: only those go that look like one.
    listed = _shards(index, read) if index in here else set[str]()
    shards = {name for name in listed if Path(name).suffix == Path(single).suffix}
    going = (shards - needed) | {index, single}
    return sorted((name for name in going if name != switch and name in here), key=_indexes_first)


def _reading(folder: Path) -> Callable[[str], bytes]:
    """What reads a file of the folder, unless it is too long for an index."""

    def read(name: str) -> bytes:
        path = folder / name
        return path.read_bytes() if path.stat().st_size <= _MOST_OF_INDEX else b""

    return read


def _shards(index: str, read: Callable[[str], bytes]) -> set[str]:
    """The files in the same folder that an index names; none where it is no index."""
    try:
        listed: Any = json.loads(read(index))
    except (OSError, ValueError, RecursionError):
        return set()
    owners = listed.get("weight_map") if is_dict(listed) else None
    names: list[Any] = list(owners.values()) if is_dict(owners) else []
    return {name for name in names if isinstance(name, str) and name == Path(name).name}
