"""What a run comes to, as lines."""

from statedict.planning import Estimate
from statedict.views.documents import document, schema
from statedict.views.lines import Line
from statedict.views.numbers import counted, size


def plan_lines(found: Estimate) -> list[Line]:
    """What is read, written and held, in how many pieces, and how long it takes at the speeds that were measured."""
    rows: list[tuple[str, str]] = [("reads", f"{size(found.read)} of {counted(found.files, 'file')}")]
    if found.written:
        rows.append(("writes", f"{size(found.written)} into {counted(found.targets, 'file')}"))
    rows.append(("in", f"{counted(found.units, 'piece')} of work, {counted(found.threads, 'thread')} at a time"))
    rows.append(("memory", f"{size(found.memory)} of buffers at most"))
    said = ", ".join(f"{size(int(rate))}/s {what}" for what, rate in _speeds(found).items() if rate)
    if said:
        rows.append(("takes", f"{duration(found.seconds)}, at {said}, as measured just now"))
    width = max(len(name) for name, _ in rows)
    return [[(f"{name:<{width}}  ", "dim"), (text, "")] for name, text in rows]


def plan_document(found: Estimate) -> str:
    """The same as a JSON document."""
    rates = {name: None if rate is None else int(rate) for name, rate in _speeds(found).items()}
    return document(
        schema=schema("plan"),
        read=found.read,
        written=found.written,
        files=found.files,
        targets=found.targets,
        units=found.units,
        threads=found.threads,
        memory=found.memory,
        rates=rates,
        seconds=found.seconds if any(rates.values()) else None,
    )


def _speeds(found: Estimate) -> dict[str, float | None]:
    return {"read": found.read_rate, "written": found.write_rate}


def duration(seconds: float) -> str:
    """A time, roughly, in the unit that says enough."""
    if seconds < 1:
        return "less than a second"
    if seconds < 90:
        return f"about {seconds:.0f} seconds"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} minutes"
    if seconds < 48 * 3600:
        return f"about {seconds / 3600:.1f} hours"
    return f"about {seconds / 86400:.1f} days"
