"""The layers of a scope that are in no list, matched one by one: what is fused or stacked, then the clearest."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from statedict.ops.match.findings import SAME_NAME, Found, Outcome, Settings
from statedict.ops.match.fusing import (
    Composite,
    composites,
    is_of_unknown_order,
    joints,
    pieces_of,
    said_set,
    stacks,
    whole_of,
)  # fmt: skip
from statedict.ops.match.lists import lists_of
from statedict.ops.match.pairing import best_pairs
from statedict.ops.match.scoring import Context, Way, clear_score, ranks, ways
from statedict.ops.match.units import Unit, count
from statedict.ops.recipes import Recipe

_CLEAR = 0.3
"""How far the next best is behind, at least, where something is clear."""
_ORDER = 0.45
"""What it counts that two are in the same place among those of their shape."""
_BESIDE = 0.01
"""What it counts that two fused layers are in the same place, where names say nothing."""
_LEAST = -0.2
_POSSIBLE = -0.7
"""The scores from which on two are matched, and may be the same."""
_NAMED = 0.3
"""What names say at least where they say something."""
_STRONG = 1.2
_TOLD, _COVERED = 0.5, 0.8
"""Which share of a scope is to be matched, by names and at all, for shape and place alone to count."""
_MOST_CANDIDATES = 5
_UNSURE = 0.3
"""The confidence in what is one of several."""
_METAS = (("wq",), ("wk",))
_IN_METAS = (("attention", "wq"), ("attention", "wk"))
_HALVED = (("q_proj",), ("k_proj",))
_ALTERNATING = "`query_key_value` holds them one after the other in some models, head by head in others"
_ROTARY = "Meta's files have the rows of each head in pairs, transformers in halves: `rotary` says in how many heads"
_KNOWN_ROTARY = "Meta's pairs of rows are halves in transformers"
_UNDECIDED = "neither names nor places tell which"


class _Taken(NamedTuple):
    """Two layers that belong to each other."""

    source: Unit
    target: Unit
    confidence: float
    reason: str
    """Empty where nothing but shape and place speaks for it."""


class Flat:
    """The layers of a scope that are in no matched list."""

    def __init__(self, sources: list[Unit], targets: list[Unit], settings: Settings, outcome: Outcome) -> None:
        self.sources, self.targets = sources, targets
        self.settings, self.outcome = settings, outcome
        self.context = Context(sources, targets)
        self.taken: list[_Taken] = []
        self.most = 0
        """How many layers there are to match, of the side that has more."""

    def solve(self) -> None:
        self._stack()
        self._fuse()
        self.most = max(len(self.sources), len(self.targets))
        while self._round():
            pass
        self._leave()

    def _stack(self) -> None:
        """Let layers of lists stand for what they are when stacked, where the other side has such."""
        for units, others in ((self.sources, self.targets), (self.targets, self.sources)):
            for made in stacks(lists_of(units), others):
                members = {id(each) for each in made.members}
                if all(any(each is unit for unit in units) for each in made.members):
                    units[:] = [unit for unit in units if id(unit) not in members]
                    units.append(made)
        for units in (self.sources, self.targets):
            units.sort(key=lambda unit: unit.place)
            count(units)

    def _fuse(self) -> None:
        """Match layers that one side has as one with those that the other has apart, where their names say so."""
        for reverse in (False, True):
            apart, fused = (self.targets, self.sources) if reverse else (self.sources, self.targets)
            joined = composites(apart, fused)
            if len(joined) <= len(composites(fused, fused)):
                continue  # both sides have as many apart, so that those in one are others
            wholes = [unit for unit in fused if said_set(unit) is not None]
            while pairs := best_pairs(self._fused_scores(joined, wholes)):
                composite, whole = joined[pairs[0].source], wholes[pairs[0].target]
                self._take_fused(composite, whole, reverse=reverse)
                taken = {id(piece) for piece in composite.pieces}
                joined = [each for each in joined if taken.isdisjoint(map(id, each.pieces))]
                wholes = [each for each in wholes if each is not whole]

    def _fused_scores(self, joined: Sequence[Composite], wholes: Sequence[Unit]) -> dict[tuple[int, int], float]:
        """How much speaks for layers that are apart being one that is fused."""
        return {
            (one, other): self.context.names(composite, whole) + _BESIDE * (self.settings.ordered and one == other)
            for one, composite in enumerate(joined)
            for other, whole in enumerate(wholes)
            if composite.said == said_set(whole) and joints(composite, whole)
        }

    def _take_fused(self, composite: Composite, whole: Unit, *, reverse: bool) -> None:
        apart, fused = (self.targets, self.sources) if reverse else (self.sources, self.targets)
        reason = f"{', '.join(composite.said)} {'out of' if reverse else 'as'} one"
        done: set[str] = set()
        for role, how in joints(composite, whole).items():
            done.add(role)
            for name, recipe in (pieces_of if reverse else whole_of)(composite, whole, role, how):
                found = Found(name, recipe, 0.9, reason)
                self.outcome.found.append(self._in_heads(found, composite) if is_of_unknown_order(whole) else found)
        taken = {id(each) for each in (*composite.pieces, whole)}
        for units in (apart, fused):
            units[:] = [unit for unit in units if id(unit) not in taken]
        apart += [piece.without(done) for piece in composite.pieces if set(piece.shapes) - done]
        fused += [whole.without(done)] if set(whole.shapes) - done else []

    def _in_heads(self, found: Found, composite: Composite) -> Found:
        """What was found, with the ways in which its parts may alternate, head by head."""
        heads = [each for each in self.settings.heads_of(composite.pieces[0].shape[0]) if each > 1]
        others = (found.recipe._replace(heads=each) for each in heads)
        return found._replace(confidence=_UNSURE, reason=_ALTERNATING, open=(found.recipe, *others))

    def _keep_rest(self, targets: Iterable[Unit], done: set[str]) -> None:
        """Leave those target tensors of layers that were matched which have no source."""
        for unit in targets:
            if set(unit.shapes) - done:
                self.outcome.targets.append(unit.without(done))

    def _scores(self) -> dict[tuple[int, int], float]:
        ours, theirs = ranks(self.sources), ranks(self.targets)
        found: dict[tuple[int, int], float] = {}
        for one, source in enumerate(self.sources):
            for other, target in enumerate(self.targets):
                how = ways(source, target)
                if how is None or (source.stacked and target.stacked):
                    continue
                score = clear_score(self.context, source, target, how)
                rank, other_rank = ours[id(source)], theirs[id(target)]
                if rank.is_as(other_rank) and (self.settings.ordered or (rank.told and other_rank.told)):
                    score += _ORDER
                found[one, other] = score
        return found

    def _round(self) -> bool:
        """Match what is clear; whether anything was."""
        scores = self._scores()
        taken_sources, taken_targets = set[int](), set[int]()
        for pair in best_pairs(scores):
            source, target = self.sources[pair.source], self.targets[pair.target]
            if pair.lead < _CLEAR or pair.score < _LEAST:
                continue
            self._take(source, target, pair.score, pair.lead)
            taken_sources.add(pair.source)
            taken_targets.add(pair.target)
        self.sources = [unit for at, unit in enumerate(self.sources) if at not in taken_sources]
        self.targets = [unit for at, unit in enumerate(self.targets) if at not in taken_targets]
        return bool(taken_sources)

    def _take(self, source: Unit, target: Unit, score: float, lead: float) -> None:
        names = self.context.names(source, target)
        known = self.context.was_renamed(source, target) > 0
        self.context.learn(source, target)
        same = source.parts == target.parts
        reason = SAME_NAME if same else "by name" if names > _NAMED else "as others beside it" if known else ""
        confidence = 1.0 if same else 0.95 if score > _STRONG and reason else 0.8 if lead > 1 else 0.7
        self.taken.append(_Taken(source, target, confidence, reason))

    def _leave(self) -> None:
        """Note what was found, and what is left; what only shape and place speak for counts where most is found."""
        most = max(1, self.most)
        told = sum(bool(each.reason) for each in self.taken) / most >= _TOLD or len(self.taken) / most >= _COVERED
        for each in self.taken:
            if each.reason or told:
                self._note(each)
            else:
                self.sources.append(each.source)
                self.targets.append(each.target)
        self._open()
        for units, left in ((self.sources, self.outcome.sources), (self.targets, self.outcome.targets)):
            for unit in units:
                left.extend(unit.members or [unit])

    def _note(self, each: _Taken) -> None:
        source, target = each.source, each.target
        how = ways(source, target) or {}
        turned = self._turned(source, target)
        for role, way in how.items():
            for name, recipe in _one(source, target, role, way):
                found = Found(name, recipe, each.confidence, each.reason or "by shape and place")
                known = self.settings.rotary and bool(self.settings.heads) and _is_metas(source, target)
                self.outcome.found.append(_with_turns(found, turned, known=known) if turned else found)
        self._keep_rest([target], set(how))
        if set(source.shapes) - set(how):
            self.outcome.sources.append(source.without(how))

    def _turned(self, source: Unit, target: Unit) -> list[int]:
        """In how many heads rows are turned, where one side is called as in Meta's Llama and the other is not."""
        for sign, one, other in ((1, source, target), (-1, target, source)):
            if one.parts[-1:] in _METAS and other.parts[-1:] in _HALVED:
                rows = source.shape[0]
                heads = self.settings.heads_of(rows, of_keys=one.parts[-1] == "wk")
                return [sign * each for each in heads if rows % (2 * each) == 0] or [0]
        return []

    def _open(self) -> None:
        """Note the layers of the source that each of those of the target which are left may be."""
        undecided: list[Unit] = []
        for target in self.targets:
            likely = self._likely(target)
            if not likely:
                undecided.append(target)
                continue
            for role in target.shapes:
                made = [_one(source, target, role, how[role]) for source, how in likely if role in how]
                for row in zip(*made, strict=False):
                    recipes = tuple(recipe for _, recipe in row)
                    self.outcome.found.append(Found(row[0][0], recipes[0], _UNSURE, _UNDECIDED, recipes))
            self._keep_rest([target], {role for _, how in likely for role in how})
        self.targets = undecided

    def _likely(self, target: Unit) -> list[tuple[Unit, dict[str, Way]]]:
        """The layers that one may be, the likeliest first, and how."""
        found: list[tuple[float, int, dict[str, Way]]] = []
        for at, source in enumerate(self.sources):
            how = ways(source, target)
            if how is not None and not (source.stacked and target.stacked):
                found.append((-clear_score(self.context, source, target, how), at, how))
        found.sort(key=lambda each: each[:2])
        return [(self.sources[at], how) for score, at, how in found[:_MOST_CANDIDATES] if -score > _POSSIBLE]


def _is_metas(*units: Unit) -> bool:
    """Whether one is called in full as Meta's is: others call theirs `wq`, too, and have it as transformers has."""
    return any(unit.parts[-2:] in _IN_METAS for unit in units)


def _with_turns(found: Found, turns: Sequence[int], *, known: bool) -> Found:
    """What was found, with its rows turned; where it is not `known` that they are, that is one of two ways."""
    turned = [found.recipe._replace(rotary=turn) for turn in turns if turn]
    if known and len(turned) == 1:
        return found._replace(recipe=turned[0], confidence=0.75, reason=f"{found.reason}; {_KNOWN_ROTARY}")
    return found._replace(confidence=_UNSURE, reason=_ROTARY, open=(*turned, found.recipe))


def _one(source: Unit, target: Unit, role: str, how: Way) -> Iterable[tuple[str, Recipe]]:
    """The recipes of one tensor, or of each of a list whose stack the source has."""
    shape = target.shapes[role] if how.reshape else None
    base = Recipe((source.locals[role],), transpose=how.transpose, shape=shape, permute=how.permute)
    if target.stacked:
        for at, member in enumerate(target.members):
            yield member.locals[role], base._replace(member=at, shape=member.shapes[role] if shape else None)
    elif source.stacked:
        names = tuple(member.locals[role] for member in source.members)
        yield target.locals[role], base._replace(sources=names, stack=True)
    else:
        yield target.locals[role], base
