"""`match` without values: planted renames undone, others' names found, the rest left open; never a silent guess."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import statedict as sd
from statedict.ops.match import scopes
from statedict.ops.match.matching import Match, match
from tests import architectures, naming_pairs, planted

FEW = ["bert", "gpt2", "llama", "mixtral", "vit", "resnet", "whisper", "t5"]


def found(source: planted.State, target: planted.State, *, values: bool = False) -> Match:
    return match(sd.open(dict(source)), sd.open(dict(target)), values=values)


def score(source: planted.State, target: planted.State, *, values: bool = False) -> tuple[int, int]:
    """How many of the target's tensors have the right values, and how many have others."""
    state = found(source, target, values=values).apply(sd.open(dict(source))).state_dict()
    right = sum(np.array_equal(state[name].numpy(), target[name].numpy()) for name in state)
    return right, len(state) - right


@pytest.mark.parametrize("plant", planted.PLANTED)
@pytest.mark.parametrize("name", FEW)
def test_planted(name: str, plant: str) -> None:
    target = planted.state(name)
    right, wrong = score(planted.PLANTED[plant](target), target)
    assert wrong == 0
    assert right >= 0.7 * len(target)  # of one alone: all together are counted below


@pytest.mark.slow
@pytest.mark.parametrize("plant", planted.PLANTED)
def test_planted_in_every_architecture(plant: str) -> None:
    right = wrong = total = 0
    for name in architectures.names()[::3]:
        target = planted.state(name)
        counts = score(planted.PLANTED[plant](target), target)
        right, wrong, total = right + counts[0], wrong + counts[1], total + len(target)
    assert right >= 0.95 * total
    assert wrong < 0.005 * total


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
def test_models_of_others_give_the_same_outputs(reverse: bool) -> None:
    """Loaded by what was found, a model computes what the other one does."""
    for pair in naming_pairs.language():
        source, target = (pair.target, pair.source) if reverse else (pair.source, pair.target)
        naming_pairs.randomized(source, 1)
        naming_pairs.randomized(target, 2)
        made = match(sd.open(source), sd.open(target), values=False)
        assert made.complete, pair.name
        state = made.apply(sd.open(source)).state_dict()
        target.load_state_dict({name: tensor.torch() for name, tensor in state.items()})
        ours, theirs = pair.outputs()
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_what_is_the_same_needs_no_rule() -> None:
    state = planted.state("bert")
    made = found(state, state)
    assert (made.rules, made.missing, made.unexpected, made.complete) == ((), (), (), True)
    assert {line.confidence for line in made.lines} == {1.0}


def test_a_line_says_what_a_tensor_is_made_of_and_why() -> None:
    target = planted.state("llama")
    made = found(planted.fused(target), target)
    line = next(line for line in made.lines if line.target == "model.layers.1.self_attn.k_proj.weight")
    assert line.sources == ("model.layers.1.self_attn.qkv.weight",)
    assert (line.recipe.said, line.reason) == ("part 2 of 3 along 0", "q, k, v out of one")
    assert 0.5 < line.confidence < 1


def test_tied_tensors_stay_tied() -> None:
    shared = torch.randn(9, 4)
    target = sd.open({"embed.weight": shared, "lm_head.weight": shared})
    made = match(sd.open({"model.embed.weight": shared.clone()}), target, values=False)
    tree = made.apply(sd.open({"model.embed.weight": shared.clone()}))
    assert made.complete
    assert tree.get_parameter("lm_head.weight") is tree.get_parameter("embed.weight")
    assert [str(rule) for rule in made.rules] == ["model.embed.weight = embed.weight + lm_head.weight (tie)"]


def test_what_nothing_tells_is_open_with_its_candidates() -> None:
    """Four square matrices in files sorted by name, on one side called by words that mean nothing."""
    words = {"bafo": 0, "lupe": 1, "nari": 2, "sovu": 3}
    source = {f"x.{word}.weight": torch.randn(8, 8) for word in words}
    target = {f"attn.{name}.weight": torch.randn(8, 8) for name in ("k_proj", "o_proj", "q_proj", "v_proj")}
    made = found(source, target)
    assert made.lines == ()
    assert [each.target for each in made.ambiguous] == list(target)
    assert all({recipe.sources[0] for recipe in each.candidates} == set(source) for each in made.ambiguous)
    assert (made.missing, made.unexpected, made.complete) == ((), (), False)


def test_names_that_contradict_are_never_matched() -> None:
    made = found({"attn.q_proj.weight": torch.randn(8, 8)}, {"attn.k_proj.weight": torch.randn(8, 8)})
    assert made.lines == ()
    assert (made.missing, made.unexpected) == (("attn.k_proj.weight",), ("attn.q_proj.weight",))


def test_query_key_value_may_alternate_head_by_head() -> None:
    source = {"h.0.attn.query_key_value.weight": torch.randn(384, 128)}
    target = {f"layers.0.attention.{name}.weight": torch.randn(128, 128) for name in ("query", "key", "value")}
    made = found(source, target)
    assert made.lines == ()
    assert [recipe.heads for recipe in made.ambiguous[0].candidates] == [1, 2]


def test_a_vocabulary_of_another_size() -> None:
    source, target = {"embed.weight": torch.randn(102, 4)}, {"embed.weight": torch.randn(100, 4)}
    (other,) = found(source, target).mismatched
    assert (other.shape, other.found) == ((100, 4), (102, 4))
    assert other.advice == (
        "the source has 2 tokens more: build the target with 102, or cut it with `--slice 'embed.weight=[0:100]'`"
    )
    (other,) = found(target, source).mismatched
    assert other.advice == "the source has 2 tokens fewer: build the target with 100"


def test_fewer_layers() -> None:
    state = planted.state("bert")
    shorter = {name: value for name, value in state.items() if ".layer.1." not in name}
    assert found(state, shorter).complete
    made = found(planted.prefixed(shorter), state)
    assert {name.split(".")[3] for name in made.missing} == {"1"}
    assert len(made.lines) == len(shorter)


def test_other_models_are_not_claimed_by_shape_alone() -> None:
    """A tensor of another model may be called the same; what is not is left alone."""
    made = found(planted.state("resnet"), planted.state("bert"))
    assert made.lines == ()
    assert found(planted.state("wav2vec2"), planted.state("segformer")).complete is False


def test_nothing_is_read() -> None:
    source = {"a.weight": torch.empty(4, 3, device="meta"), "a.bias": torch.empty(4, device="meta")}
    target = {"b.weight": torch.empty(4, 3, device="meta"), "b.bias": torch.empty(4, device="meta")}
    made = found(source, target, values=True)
    assert (len(made.lines), made.proved) == (2, False)


def test_applied_to_what_has_other_names() -> None:
    state = planted.state("llama")
    made = found(planted.prefixed(state), state)
    with pytest.raises(sd.StatedictError, match=r"of which `model\.embed_tokens\.weight` is made, is not there"):
        made.apply(sd.open(state))


def test_nothing_at_all() -> None:
    made = found({}, {})
    assert (made.lines, made.rules, made.complete) == ((), (), True)
    assert found({}, {"a": torch.zeros(2)}).missing == ("a",)


def test_lists_of_parameters_are_lists() -> None:
    """`nn.ParameterList` has tensors where others have modules."""
    rows = [torch.randn(2 + at, 3) for at in range(3)]
    source = {f"a.scales.{at}": row for at, row in enumerate(rows)} | {"a.weight": torch.randn(5)}
    target = {f"b.factors.{at}": row for at, row in enumerate(rows)} | {"b.weight": source["a.weight"]}
    assert score(source, target) == (4, 0)
    assert found({"0": rows[0]}, {"1": rows[0]}).complete


def test_a_name_in_another_list_is_not_said_to_be_the_same() -> None:
    (line,) = found({"layers.0.w": torch.zeros(4, 4)}, {"blocks.1.w": torch.zeros(4, 4)}).lines
    assert (line.reason, line.confidence) == ("the same name in its list", 0.95)


_PARTS = st.sampled_from(
    ["a", "1", "0", "10", "01", "layer1", "1layer", "qkv", "q", "{i}", "*", "**", "", "w_b", "weight"]
)
_STATES = st.dictionaries(
    st.lists(_PARTS, min_size=1, max_size=8).map(".".join),
    st.sampled_from([(4, 4), (4,), (12, 4), (1, 4, 4)]),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)
@given(_STATES, _STATES)
def test_names_of_any_kind_are_matched_or_left(
    ours: dict[str, tuple[int, ...]], theirs: dict[str, tuple[int, ...]]
) -> None:
    """Each target has one place, and what is said to make it makes it."""
    source, target = ({name: np.zeros(shape, "f4") for name, shape in each.items()} for each in (ours, theirs))
    made = match(sd.open(dict(source)), sd.open(dict(target)), values=False)
    placed = [
        *(line.target for line in made.lines),
        *(each.target for each in made.ambiguous),
        *(each.target for each in made.mismatched),
        *made.missing,
    ]
    assert sorted(placed) == sorted(target)
    state = made.apply(sd.open(dict(source))).state_dict()
    assert {name: tuple(state[name].shape) for name in state} == {
        line.target: theirs[line.target] for line in made.lines
    }


def test_lists_in_lists_without_end_cost_no_more_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    alike = scopes.alike
    monkeypatch.setattr(scopes, "alike", lambda *both: asked.append(both) or alike(*both))
    source = {".".join(f"{(at * 7 + part) % 3}" for part in range(150)) + f".w{at}": torch.zeros(4) for at in range(20)}
    target = {f"m.{name.replace('0', '1')}": value for name, value in source.items()}
    assert found(source, target).complete
    assert len(asked) < 50_000
