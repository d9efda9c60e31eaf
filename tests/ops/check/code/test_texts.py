"""Configs and program text beside weights."""

import json
import warnings
from typing import Any

import pytest

from statedict.limits import DEFAULT_LIMITS
from statedict.ops.check.code import keras
from statedict.ops.check.code.sources import python_acts, script_acts
from statedict.ops.check.code.texts import acts
from statedict.source import BytesSource
from tests.corpus.models import layer, model_of


def told(text: str, name: str) -> list[tuple[str, str]]:
    return [(act.grade, act.expression) for act in acts(BytesSource(text.encode()), "x", name, DEFAULT_LIMITS)]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ({"auto_map": {"AutoModel": "modeling_x.Net"}}, [("unknown", "auto_map: modeling_x.Net")]),
        ({"auto_map": {"AutoTokenizer": ["tok.Slow", None]}}, [("unknown", "auto_map: tok.Slow")]),
        ({"custom_pipelines": {"x": {"impl": "p.P"}}}, [("unknown", "custom_pipelines: {'x': {'impl': 'p.P'}}")]),
        ({"model": {"_target_": "os.system", "command": "x"}}, [("dangerous", "os.system(…)")]),
        ({"model": {"_target_": "mypackage.Net"}}, []),
        ({"chat_template": "{{ x.__class__ }}"}, [("dangerous", "{{ x.__class__ }}")]),
        ({"chat_template": [{"name": "a", "template": "{{ x.__class__ }}"}]}, [("dangerous", "{{ x.__class__ }}")]),
        ({"hidden_size": 3, "model_type": "bert"}, []),
        ([1, 2], []),
    ],
)
def test_json(held: Any, expected: list[tuple[str, str]]) -> None:
    assert told(json.dumps(held), "config.json") == expected


def test_yaml() -> None:
    assert told("a: !!python/object/apply:os.system ['x']\n", "x.yaml") == [
        ("dangerous", "!!python/object/apply:os.system")
    ]
    assert told("m:\n  _target_: subprocess.run\n  x: 1\n", "x.yml") == [("dangerous", "subprocess.run(…)")]
    assert told("m:\n  _target_: nemo.collections.X\n", "x.yml") == []
    assert told("a: !!python/tuple [1]\n", "x.yml") == []


def test_texts_of_other_names_are_not_looked_at() -> None:
    assert told("{{ x.__class__ }}", "README.md") == []
    assert told("{not json", "config.json") == []
    assert told("[" * 100_000, "config.json") == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import os\nos.system('x')\n", [("dangerous", "os.system(…)")]),
        ("from subprocess import run as go\ngo('x')\n", [("dangerous", "subprocess.run(…)")]),
        ("def f():\n    eval('x')\n", [("unknown", "eval(…)")]),
        ("import os\nx = os.path.join('a', 'b'), os.getcwd(), os.environ.get('x')\n", []),
        ("import torch\nclass N(torch.nn.Module):\n    def forward(self, x):\n        return torch.relu(x)\n", []),
        ("this is no Python", []),
        ("x = 0b", []),
        ("(" * 10_000, []),
    ],
)
def test_python(code: str, expected: list[tuple[str, str]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [(act.grade, act.expression) for act in python_acts(code, "x.py")] == expected


def test_torchscript() -> None:
    code = (
        "    _0 = torch.conv2d(x)\n    _1 = ops.prim.NumToTensor(2)\n    _2 = ops.mine.go(x)\n    torch.save(x, 'y')\n"
    )
    assert [(act.grade, act.expression) for act in script_acts(code, "x")] == [
        ("dangerous", "torch.save(x, 'y')"),
        ("unknown", "torch.ops.mine.go(…)"),
    ]


def test_keras_layers_that_are_its_own() -> None:
    config = model_of(
        layer("Dense", {"units": 2, "activation": "relu"}), layer("InputLayer", {"batch_shape": [None, 2]})
    )
    assert list(keras.acts(config, "x")) == []
    assert [act.grade for act in keras.acts(model_of(layer("Net", {}, "mypackage")), "x")] == ["unknown"]
    assert [act.grade for act in keras.acts(model_of(layer("StringLookup", {"vocabulary": "/etc/passwd"})), "x")] == [
        "unknown"
    ]
