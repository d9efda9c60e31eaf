"""Checksums of members, digests of files, shards of a set, signatures."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from statedict.checking import check
from statedict.errors import FormatError
from statedict.limits import DEFAULT_LIMITS
from statedict.ops.check.integrity.digests import listed
from statedict.ops.check.integrity.sets import set_findings
from statedict.source import Folder
from statedict.verifying import signature_findings
from tests.corpus import models


def saved() -> bytes:
    file = io.BytesIO()
    torch.manual_seed(0)
    torch.save({"a": torch.randn(64), "b": torch.randn(64)}, file)
    return file.getvalue()


def findings(data: bytes) -> list[tuple[str, str]]:
    return [(each.severity, each.where.rpartition("/")[2]) for each in check(data, only=["integrity"]).findings]


def test_a_changed_byte() -> None:
    data = saved()
    assert findings(data) == []
    at = data.index(torch.load(io.BytesIO(data))["b"].numpy().tobytes())
    assert findings(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]) == [("error", "1")]


def test_what_torch_writes_without_checksums() -> None:
    """All members are then wrong alike, which is told once."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        data = saved()
    finally:
        torch.serialization.set_crc32_options(before)
    assert [severity for severity, _ in findings(data)] == ["warning"]


def shard(folder: Path, name: str) -> None:
    (folder / name).write_bytes(models.safetensors({"a": models._tensor(0, 1)}, b"x"))


def test_shards(tmp_path: Path) -> None:
    for number in (1, 3):
        shard(tmp_path, f"model-{number:05}-of-00003.safetensors")
    weights = {"a": "model-00001-of-00003.safetensors", "b": "model-00002-of-00003.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    said = [each.what for each in set_findings(Folder(tmp_path), DEFAULT_LIMITS)]
    assert said == [
        "has 2 of 3 shards of `model.safetensors`; missing: 2",
        "lists `model-00002-of-00003.safetensors`, which is not there",
        "does not list `model-00003-of-00003.safetensors`",
    ]
    shard(tmp_path, "model-00002-of-00003.safetensors")
    weights["c"] = "model-00003-of-00003.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    assert list(set_findings(Folder(tmp_path), DEFAULT_LIMITS)) == []


def test_lists_of_digests() -> None:
    assert listed(f"# x\n{'a' * 64}  b c\n\\{'B' * 40} *d\n\n", "x") == {"b c": "a" * 64, "d": "b" * 40}
    for wrong in ("x", "a" * 64, "a" * 65 + "  x"):
        with pytest.raises(FormatError, match="line 1 is no digest and name, as `sha256sum` writes them"):
            listed(wrong, "x")


def test_signatures(tmp_path: Path) -> None:
    """Of a key, and of a certificate that another one vouches for."""
    pytest.importorskip("model_signing")
    from cryptography.hazmat.primitives import serialization
    from model_signing import signing

    model, signature = tmp_path / "model", tmp_path / "model.sig"
    model.mkdir()
    shard(model, "model.safetensors")
    authority, key, other = (_key(tmp_path / name) for name in ("authority", "key", "other"))
    public = tmp_path / "key.pub"
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, kind))
    root, stranger = (
        _certificate(tmp_path, name, owner, name, owner) for name, owner in (("a", authority), ("b", other))
    )
    leaf = _certificate(tmp_path, "leaf", key, "a", authority)

    def errors(**by: Any) -> list[str]:
        return [found.what for found in signature_findings(Folder(model), str(signature), **by)]

    signing.Config().use_elliptic_key_signer(private_key=tmp_path / "key").sign(model, signature)
    assert errors(key=str(public)) == []
    signing.Config().use_certificate_signer(
        private_key=tmp_path / "key", signing_certificate=leaf, certificate_chain=[root]
    ).sign(model, signature)
    assert errors(certificates=[str(root)]) == []
    assert len(errors(certificates=[str(stranger)])) == 1
    (model / "model.safetensors").write_bytes(b"x")
    (found,) = signature_findings(Folder(model), str(signature), certificates=[str(root)])
    assert found.severity == "error"
    assert "is not what" in found.what


def _key(path: Path) -> Any:
    """A new private key, and a file that has it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    plain = serialization.NoEncryption()
    kind = serialization.PrivateFormat.TraditionalOpenSSL
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, plain))
    return key


def _certificate(folder: Path, name: str, key: Any, issuer: str, issuing: Any) -> Path:
    """The file of a certificate for a key; of one that vouches for others where it vouches for itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    now, own = datetime.now(UTC), name == issuer
    subject, by = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in (name, issuer))
    usage = x509.KeyUsage(
        digital_signature=not own,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=own,
        crl_sign=own,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        x509.CertificateBuilder(by, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=own, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(issuing, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path
