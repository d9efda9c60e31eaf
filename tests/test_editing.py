"""Edits in their order, from the command line and from files of rules."""

from pathlib import Path

import pytest
import torch

import statedict as sd
from statedict.editing import edited, edits_of


@pytest.fixture
def model() -> sd.Module:
    return sd.open({"a": {"w": torch.ones(2, 3)}, "b": {"w": torch.zeros(2)}, "epoch": 3})


def test_the_order_is_that_of_the_edits(model: sd.Module) -> None:
    first = edited(model, [("drop", "a.**"), ("rename", "b.**=a.**")])
    assert list(first.state_dict()) == ["a.w"]
    assert first.a.w.shape == (2,)
    with pytest.raises(sd.StatedictError, match=r"`a\.w`"):
        edited(model, [("rename", "b.**=a.**"), ("drop", "a.**")])


def test_renames_in_a_row_are_checked_together(model: sd.Module) -> None:
    made = edited(model, [("rename", "a.**=c.**"), ("rename", "b.**=a.**"), ("rename", "c.**=b.**")])
    assert (made.a.w.shape, made.b.w.shape) == ((2,), (2, 3))


def test_each(model: sd.Module, tmp_path: Path) -> None:
    torch.save({"c": torch.ones(5), "d": torch.ones(6)}, tmp_path / "with:colon.pt")
    made = edited(
        model,
        [
            ("cast", "a.*=f16"),
            ("slice", "a.w=[0]"),
            ("add", f"{tmp_path / 'with:colon.pt'}:c"),
            ("add", f"{tmp_path / 'with:colon.pt'}"),
            ("set-metadata", "author=me=you"),
            ("set-metadata", "note="),
            ("keep", "{a.*,c,d,epoch}"),
        ],
    )
    assert {name: (tensor.dtype.name, tensor.shape) for name, tensor in made.state_dict().items()} == {
        "a.w": ("float16", (3,)),
        "c": ("float32", (5,)),
        "d": ("float32", (6,)),
    }
    assert made.metadata == {"author": "me=you", "note": ""}
    assert made.attributes == {"epoch": 3}
    assert edited(model, [("cast", "bf16")]).b.w.dtype.name == "bfloat16"


def test_numbers_beyond_the_largest() -> None:
    model = sd.open({"w": torch.tensor([1e6])})
    assert edited(model, [("cast", "f16")], "saturate").w.item() == 65504.0


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("cast", "a.*=f17"), "`f17` is no element type; expected one such as bf16, f16, f32 or f8_e4m3fn"),
        (("set-metadata", "note"), "`note` is no metadata; expected KEY=VALUE"),
        (("add", "nowhere.pt:a"), "nowhere.pt: cannot be opened"),
    ],
)
def test_what_is_no_edit(edit: tuple[str, str], said: str, model: sd.Module) -> None:
    with pytest.raises(sd.StatedictError, match=f"^{said}"):
        edited(model, [edit])


def test_a_file_of_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        'drop = ["a.**", "b"]\ncast = "bf16"\n[[rename]]\nfrom = "c"\nto = "d"\n[[rename]]\nfrom="e"\nto=""\n'
    )
    assert edits_of(str(path)) == [
        ("drop", "a.**"), ("drop", "b"), ("cast", "bf16"), ("rename", "c=d"), ("rename", "e="),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("drop = [1]", "rules.toml: `drop` holds `1`; expected texts, or tables of `from` and `to`"),
        ("burn = ['a']", "rules.toml: there is no edit `burn`; expected some of rename, drop, keep, cast"),
        ("[[rename]]\nfrom = 'a'", "rules.toml: `rename` holds `{'from': 'a'}`"),
        ("drop = ", "rules.toml: is no TOML: "),
        ("\0", "rules.toml: is no TOML: "),
    ],
)
def test_what_is_no_file_of_rules(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rules.toml").write_text(text)
    with pytest.raises(sd.FormatError) as error:
        edits_of("rules.toml")
    assert str(error.value).startswith(said)
    with pytest.raises(sd.ReadError, match=r"^nowhere.toml: cannot be opened: no such file or directory$"):
        edits_of("nowhere.toml")
