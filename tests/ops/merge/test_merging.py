"""`merge` beside direct definitions in numpy; the same elements whatever the blocks, and the order of reading."""

import json
import pickle
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import statedict as sd
from statedict.expressions import nodes
from tests.ops.merge import references

DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16, "float64": np.float64}
SHAPES = {"layers.0.weight": (37, 13), "layers.1.weight": (401,), "layers.1.bias": (1,), "head.weight": (5, 3, 2, 7)}
PRECISION = {"float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10, "float64": 1e-11}
"""Of an element that lies between two: how far those are apart. float64 is not rounded, but summed in another order."""
BLOCKS = [7, 64, 1 << 17]


def arrays(seed: int, dtype: str = "float32", *, near: dict[str, Any] | None = None) -> dict[str, Any]:
    """Weights with many equal magnitudes and zeros among them; those of a fine-tuned model lie `near` others."""
    generator = np.random.default_rng(seed)
    made: dict[str, Any] = {}
    for name, shape in SHAPES.items():
        values = generator.normal(size=shape)
        if near is not None:
            values = near[name].astype(np.float64) + np.round(values * 2) / 64 * (generator.random(shape) < 0.8)
        made[name] = values.astype(DTYPES[dtype])
    return made


def exact(arrays: dict[str, Any], name: str) -> Any:
    return arrays[name].astype(np.float64)


class Sample:
    """A base and three models trained from it, as arrays and as trees."""

    def __init__(self, dtype: str = "float32") -> None:
        self.dtype = dtype
        self.base = arrays(0, dtype)
        self.models = [arrays(seed, dtype, near=self.base) for seed in (1, 2, 3)]
        self.base_tree = sd.open(self.base)
        self.trees = [sd.open(model) for model in self.models]

    def check(self, merged: sd.Module, reference: Callable[[Any, list[Any]], Any]) -> None:
        """Each tensor is the reference's, but for the last bit where that was rounded twice."""
        for name in SHAPES:
            models = [exact(model, name) for model in self.models]
            wanted = reference(exact(self.base, name), models).astype(DTYPES[self.dtype])
            found = merged.get_parameter(name).numpy()
            assert found.dtype == wanted.dtype
            assert found.shape == wanted.shape
            slack = PRECISION[self.dtype] * np.maximum(np.abs(wanted.astype(float)), 1e-3)
            off = np.abs(found.astype(float) - wanted.astype(float)) > slack
            assert not off.any(), (name, found[off][:3], wanted[off][:3])


@pytest.fixture(params=BLOCKS, ids=lambda size: f"blocks of {size}")
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_STRETCH", request.param)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dtype", DTYPES)
class TestDefinitions:
    def test_linear(self, dtype: str) -> None:
        sample = Sample(dtype)
        merged = sd.merge(sample.trees, weights=[0.2, 0.5, 0.9])
        sample.check(merged, lambda _, models: references.linear(models, [0.2, 0.5, 0.9]))

    def test_linear_not_normalized(self, dtype: str) -> None:
        sample = Sample(dtype)
        merged = sd.merge(sample.trees, "linear", [0.2, -0.5, 0.9], normalize=False)
        sample.check(merged, lambda _, models: references.linear(models, [0.2, -0.5, 0.9], normalize=False))

    @pytest.mark.parametrize("t", [0, 0.3, 1])
    def test_slerp(self, dtype: str, t: float) -> None:
        sample = Sample(dtype)
        other = arrays(9, dtype)
        merged = sd.merge([sample.base_tree, sd.open(other)], "slerp", t=t)
        sample.models = [other]
        sample.check(merged, lambda base, models: references.slerp(base, models[0], t))

    def test_slerp_of_nearly_one_direction(self, dtype: str) -> None:
        sample = Sample(dtype)
        near = {name: (values * 1.5).astype(values.dtype) for name, values in sample.base.items()}
        merged = sd.merge([sample.base_tree, sd.open(near)], "slerp", t=0.25)
        sample.models = [near]
        sample.check(merged, lambda base, models: 0.75 * base + 0.25 * models[0])

    def test_task_arithmetic(self, dtype: str) -> None:
        sample = Sample(dtype)
        merged = sd.merge(sample.trees, "task-arithmetic", [1, 0.5, -0.25], sample.base_tree, scale=0.8)
        sample.check(merged, vectors([1, 0.5, -0.25], elect=False, normalize=False, scale=0.8))

    def test_task_arithmetic_normalized(self, dtype: str) -> None:
        sample = Sample(dtype)
        merged = sd.merge(sample.trees, "task_arithmetic", [1, 0.5, 2], sample.base_tree, normalize=True)
        sample.check(merged, vectors([1, 0.5, 2], elect=False, normalize=True))

    @pytest.mark.parametrize("density", [0.001, 0.2, 0.5, 0.99, 1])
    def test_ties(self, dtype: str, density: float) -> None:
        sample = Sample(dtype)
        merged = sd.merge(sample.trees, "ties", [1, 0.7, 0.4], sample.base_tree, density=density)
        sparse = (lambda delta: references.trimmed(delta, density)) if density < 1 else (lambda delta: delta)
        sample.check(merged, vectors([1, 0.7, 0.4], elect=True, normalize=True, sparse=sparse))

    @pytest.mark.parametrize("method", ["breadcrumbs", "breadcrumbs-ties"])
    @pytest.mark.parametrize(("density", "gamma"), [(0.9, 0.01), (0.3, 0.2), (0.9, 0.5), (0.5, 0)])
    def test_breadcrumbs(self, dtype: str, method: str, density: float, gamma: float) -> None:
        sample = Sample(dtype)
        merged = sd.merge(sample.trees, method, base=sample.base_tree, density=density, gamma=gamma)
        elect = method.endswith("ties")
        sparse = lambda delta: references.middling(delta, density, gamma)  # noqa: E731
        sample.check(merged, vectors([1, 1, 1], elect=elect, normalize=False, sparse=sparse))

    def test_model_stock(self, dtype: str) -> None:
        sample = Sample(dtype)
        sample.check(sd.merge(sample.trees, "model-stock", base=sample.base_tree), references.model_stock)


def vectors(
    weights: Sequence[float],
    *,
    elect: bool,
    normalize: bool,
    scale: float = 1.0,
    sparse: Callable[[Any], Any] = lambda delta: delta,
) -> Callable[[Any, list[Any]], Any]:
    return lambda base, models: references.task_vectors(
        base,
        [sparse(model - base) for model in models],
        weights,
        elect=elect,
        normalize=normalize,
        scale=scale,
    )


class TestDare:
    SIZE = 200_003

    def sample(self) -> tuple[sd.Module, sd.Module]:
        generator = np.random.default_rng(0)
        base = np.zeros(self.SIZE, np.float32)
        return sd.open({"w": base}), sd.open({"w": generator.normal(size=self.SIZE).astype(np.float32)})

    def test_each_change_is_dropped_or_divided_by_the_density(self) -> None:
        base, tuned = self.sample()
        changed = tuned.get_parameter("w").numpy()
        found = sd.merge([tuned], "dare", base=base, density=0.25, seed=3).get_parameter("w").numpy()
        kept = found != 0
        np.testing.assert_array_equal(found[kept], changed[kept] * 4)
        assert abs(kept.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / self.SIZE)

    def test_drops_are_independent(self) -> None:
        base, tuned = self.sample()
        found = [
            sd.merge([tuned], "dare", base=base, density=0.5, seed=seed).get_parameter("w").numpy() != 0
            for seed in (0, 1)
        ]
        tolerance = 5 * np.sqrt(0.25 * 0.75 / self.SIZE)
        assert abs((found[0] & found[1]).mean() - 0.25) < tolerance
        assert abs((found[0][1:] & found[0][:-1]).mean() - 0.25) < tolerance
        assert abs((found[0][8:] & found[0][:-8]).mean() - 0.25) < tolerance

    def test_models_and_tensors_drop_others(self) -> None:
        ones = {name: np.ones(64, np.float32) for name in ("a", "b")}
        base = sd.open({name: np.zeros(64, np.float32) for name in ones})
        merged = sd.merge([sd.open(ones)] * 2, "dare", [1, 2], base, density=0.5, rescale=False)
        a, b = (merged.get_parameter(name).numpy() for name in ones)
        assert set(a) == {0, 1, 2, 3}
        assert (a != b).any()

    def test_the_numbers_are_philox(self) -> None:
        """The seed, the model and the name give the key, the position the counter; as it is documented."""
        import hashlib

        ones = sd.open({"w": np.ones(100, np.float32)})
        base = sd.open({"w": np.zeros(100, np.float32)})
        found = sd.merge([ones], "dare", base=base, density=0.5, seed=7, rescale=False).get_parameter("w").numpy()
        key = int.from_bytes(hashlib.sha256(b"7\x000\x00w").digest()[:16], "little")
        numbers = np.random.Philox(key=key).random_raw(52).view(np.uint32)[:100]
        np.testing.assert_array_equal(found == 1, numbers < 2**31)

    def test_ties(self) -> None:
        sample = Sample("float64")
        settings: dict[str, Any] = {"base": sample.base_tree, "density": 0.5, "seed": 5}
        merged = sd.merge(sample.trees, "dare-ties", [1, 2, 0.5], **settings)
        for name in SHAPES:
            base = exact(sample.base, name)
            deltas: list[Any] = []
            for at, model in enumerate(sample.models):
                weights = [float(at == other) for other in range(3)]  # the same model at the same place, alone
                alone = sd.merge(sample.trees, "dare-linear", weights, **settings).get_parameter(name).numpy()
                changes = exact(model, name) - base
                deltas.append(np.where(np.abs(alone - base) > np.abs(changes), changes * 2, 0))
            wanted = references.task_vectors(base, deltas, [1, 2, 0.5], elect=True, normalize=False)
            np.testing.assert_allclose(merged.get_parameter(name).numpy(), wanted, rtol=1e-14, atol=1e-15)

    def test_rescaled_to_the_sum_of_magnitudes(self) -> None:
        base, tuned = self.sample()
        found = sd.merge([tuned], "dare", base=base, density=0.1, rescale="l1").get_parameter("w").numpy()
        before = np.abs(tuned.get_parameter("w").numpy().astype(float)).sum()
        assert np.abs(found.astype(float)).sum() == pytest.approx(before, rel=1e-6)


def bytes_of(tree: sd.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in tree.named_parameters()}


SETTINGS: dict[str, dict[str, Any]] = {
    "linear": {},
    "task-arithmetic": {"scale": 0.7},
    "ties": {"density": 0.3},
    "dare": {"density": 0.3},
    "dare-ties": {"density": 0.3, "rescale": "l1"},
    "breadcrumbs-ties": {"density": 0.5, "gamma": 0.1},
    "model-stock": {},
}


@pytest.mark.parametrize("method", SETTINGS)
class TestReading:
    def merged(self, method: str) -> sd.Module:
        sample = Sample()
        return sd.merge(sample.trees, method, base=sample.base_tree if method != "linear" else None, **SETTINGS[method])

    def test_pieces_in_any_order_by_several_threads(self, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = bytes_of(self.merged(method))
        monkeypatch.setattr(nodes, "_STRETCH", 16)
        tensors = dict(self.merged(method).named_parameters())
        pieces = [(name, at) for name, data in whole.items() for at in range(0, len(data), 52)]
        random.Random(1).shuffle(pieces)

        def read(piece: tuple[str, int]) -> bytes:
            name, at = piece
            extent = tensors[name].info.extent
            assert extent is not None
            return extent.source.read_at(at, min(52, len(whole[name]) - at))

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(read, pieces))
        for (name, at), data in zip(pieces, found, strict=True):
            assert data == whole[name][at : at + 52]

    def test_it_pickles(self, method: str) -> None:
        merged = self.merged(method)
        assert bytes_of(pickle.loads(pickle.dumps(merged))) == bytes_of(merged)


def test_whole_numbers_and_truth_values_are_the_first_models() -> None:
    first, second = (
        sd.open({"w": np.full(3, value), "count": np.array(value, np.int64), "mask": np.array([value > 1])})
        for value in (1.0, 3.0)
    )
    merged = sd.merge([first, second])
    assert merged.state_dict()["w"].tolist() == [2, 2, 2]
    assert merged.state_dict()["count"].item() == 1
    assert merged.state_dict()["mask"].tolist() == [False]


def test_ties_stay_tied() -> None:
    def tied(value: float) -> sd.Module:
        weight = sd.Parameter(np.full((2, 2), value))
        return sd.open({"embedding": {"weight": weight}, "head": {"weight": weight}})

    merged = sd.merge([tied(1.0), tied(2.0)])
    assert merged.get_parameter("embedding.weight") is merged.get_parameter("head.weight")


def test_weights_by_pattern() -> None:
    first, second = (sd.open({f"layers.{at}.w": np.full(2, value) for at in range(4)}) for value in (0.0, 1.0))
    by_layer = {"layers.{0-1}.*": 1.0, "layers.1.w": 9.0, "**": 3.0}
    merged = sd.merge([first, second], weights=[1, by_layer])
    assert [merged.state_dict()[f"layers.{at}.w"].tolist()[0] for at in range(4)] == [0.5, 0.5, 0.75, 0.75]


def test_density_of_each_model() -> None:
    base = sd.open({"w": np.zeros(4)})
    tuned = [sd.open({"w": np.array([1.0, 2, 3, 4])}), sd.open({"w": np.array([40.0, 30, 20, 10])})]
    merged = sd.merge(tuned, "breadcrumbs", base=base, density=[0.25, {"**": 0.5}], gamma=[0, 0.25])
    assert merged.state_dict()["w"].tolist() == [0, 30, 20, 4]


def test_how_it_was_merged_is_recorded() -> None:
    sample = Sample()
    merged = sd.merge(sample.trees, "dare", [1, {"**": 2}, 3], sample.base_tree, density=0.5, seed=11)
    assert json.loads(merged.metadata["statedict.merge"]) == {
        "method": "dare",
        "weights": [1, {"**": 2}, 3],
        "density": 0.5,
        "scale": 1.0,
        "seed": 11,
        "normalize": False,
        "rescale": True,
    }


def test_dtype_of_the_result() -> None:
    first, second = sd.open({"w": np.array([1.0, 2], np.float16)}), sd.open({"w": np.array([1.0, 2.25])})
    assert sd.merge([first, second]).state_dict()["w"].dtype is sd.dtype("float16")
    assert sd.merge([first, second], dtype="float64").state_dict()["w"].tolist() == [1, 2.125]


def test_nan_is_not_lost() -> None:
    base, sound, broken = (sd.open({"w": np.array(values)}) for values in ([0.0, 0], [1.0, 1], [np.nan, 1]))
    for method, settings in SETTINGS.items():
        if settings.get("density") or method == "model-stock":
            continue
        merged = sd.merge([sound, broken], method, base=None if method == "linear" else base, **settings)
        assert np.isnan(merged.state_dict()["w"].numpy()).tolist() == [True, False]
    assert np.isnan(sd.merge([sound, broken], "ties", base=base).state_dict()["w"].numpy()).tolist() == [True, False]


MODEL = {"a": np.ones((2, 2)), "b": np.ones(3)}
WRONG: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {
    "names": (
        [MODEL, {"a": np.ones((2, 2)), "c": np.ones(3)}],
        {},
        "the models cannot be merged: only model 1 has `b`; only model 2 has `c`; rename, drop or slice those first",
    ),
    "shapes": (
        [MODEL, {**MODEL, "b": np.ones(4)}],
        {},
        (
            "the models cannot be merged: shapes of model 1 and model 2 differ: `b` (3,) and (4,); rename, drop or "
            "slice those first"
        ),
    ),
    "names of the base": (
        [MODEL],
        {"method": "ties", "base": sd.open({"a": np.ones((2, 2))})},
        "the models cannot be merged: only model 1 has `b`; rename, drop or slice those first",
    ),
    "method": (
        [MODEL],
        {"method": "average"},
        (
            "there is no method `average` to merge by; expected one of linear, slerp, task-arithmetic, ties, dare, "
            "dare-ties, breadcrumbs, breadcrumbs-ties, model-stock"
        ),
    ),
    "two": ([MODEL], {"method": "slerp"}, "method `slerp` merges 2 models; got 1"),
    "no base": (
        [MODEL],
        {"method": "ties"},
        "method `ties` needs the base that the models were trained from; give one",
    ),
    "base": (
        [MODEL],
        {"base": sd.open(MODEL)},
        "method `linear` takes no base; leave it out, or merge it as one of the models",
    ),
    "setting": ([MODEL], {"t": 0.5}, "method `linear` takes no `t`; its settings: `normalize`, `weights`"),
    "weights": ([MODEL, MODEL], {"weights": [1]}, "weights: 1 given for 2 models; give one for each"),
    "sum": (
        [MODEL, MODEL],
        {"weights": [1, -1]},
        "the weights' sum is zero, by which nothing can be divided; pass `normalize=False`",
    ),
    "pattern": ([MODEL], {"weights": [{"x": 1, "**": 1}]}, "`x` matches no name"),
    "no pattern": (
        [MODEL],
        {"weights": [{"a": 1}]},
        "no pattern gives weights for `b`; add one for all others, `**`, at the end",
    ),
    "share": (
        [MODEL],
        {"method": "ties", "base": sd.open(MODEL), "density": 1.5},
        "`1.5` is no share for density; expected a number from 0 to 1",
    ),
    "number": ([MODEL], {"weights": [float("nan")]}, "`nan` is no number for weights; expected a finite one"),
    "dtype": (
        [MODEL],
        {"dtype": "int8"},
        "models cannot be merged to int8; expected a floating point type",
    ),
    "complex": (
        [{"a": np.ones(2, np.complex64)}] * 2,
        {"method": "slerp"},
        "tensor `a` is of complex64, which method `slerp` cannot merge; use `linear`",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use(case: str) -> None:
    models, settings, message = WRONG[case]
    with pytest.raises(sd.StatedictError) as caught:
        sd.merge([sd.open(model) for model in models], **settings)
    assert str(caught.value) == message
