"""The reference: every name, with its signature from the source and its text."""

import statedict
from docs import reference


def test_every_name_has_an_entry_and_every_group_has_names_that_there_are() -> None:
    text = reference.reference()
    public = {name for name in statedict.__all__ if not name.startswith("_")}
    assert {line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")} == public
    assert {name for names in reference.GROUPS.values() for name in names} <= public


def test_a_signature_is_that_of_the_source() -> None:
    text = reference.reference()
    assert "\ndef merge(\n" in text
    assert "'Module'" not in text
    assert "- `get_parameter(target: str) -> Tensor`" in text or "- `get_parameter(target: str) -> Parameter`" in text


def test_fields_have_their_texts() -> None:
    limits = reference.reference().partition("### Limits\n")[2].partition("\n### ")[0]
    assert (
        "- `header_bytes: int`: The description of a file: a safetensors header, a pickle, a zip's central directory."
        in limits
    )


def test_what_pytorch_documents_is_named() -> None:
    module = reference.reference().partition("### Module\n")[2].partition("\n### ")[0]
    assert module.partition("As in PyTorch, or in Python: ")[2].startswith("`bfloat16`, `double`, ")
    assert "- `named_modules(" in module
