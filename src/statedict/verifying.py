"""A checkpoint against what somebody wrote down, or signed, of it."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from statedict.errors import FormatError, StatedictError
from statedict.extras import needed
from statedict.limits import Limits
from statedict.ops.check.finding import Finding
from statedict.ops.check.integrity.checksums import NAME
from statedict.ops.check.integrity.digests import digest_findings, listed
from statedict.source import FileSource, Folder, Source
from statedict.tree.module import Module

_OTHER = "it is not what the manifest was made of: fetch it again, or make the manifest anew"
_WHAT = {
    "changed": "is not as the manifest has it",
    "missing": "is in the manifest, but not in the file",
    "added": "is not in the manifest",
}
_UNSIGNED = "do not trust it: it is not what was signed, or was signed by another"


def verified(
    source: Source, model: Module | None, manifest: str | os.PathLike[str], limits: Limits
) -> Iterator[Finding]:
    """What differs from a manifest of `statedict hash`, or from a list of digests as `sha256sum` writes it.

    Raises FormatError where it is neither, ReadError where it cannot be read.
    """
    file = FileSource(manifest)
    if file.head(1) == b"{":
        yield from _tensors(source, model, manifest)
        return
    if file.size > limits.header_bytes:
        raise FormatError(f"{file.name}: has {file.size:,} bytes, and is no manifest")
    digests = listed(file.read_at(0, file.size).decode("utf-8", "replace"), file.name)
    yield from digest_findings(_folder(source), digests)


def _folder(source: Source) -> Path:
    if isinstance(source, Folder):
        return source.path
    if isinstance(source, FileSource):
        return source.path.parent
    raise StatedictError(f"{source.name}: is no file or folder, which alone a list of digests is of")


def _tensors(source: Source, model: Module | None, manifest: str | os.PathLike[str]) -> Iterator[Finding]:
    from statedict.manifest import read_manifest
    from statedict.ops.fingerprint import fingerprint

    known = read_manifest(manifest)
    if model is None:
        what = "cannot be compared with the manifest, as it cannot be opened"
        yield Finding(NAME, source.name, "error", what, _OTHER, {"kind": "manifest"})
        return
    for difference in known.differences(fingerprint(model, algorithm=known.algorithm)):
        what = _WHAT[difference.what]
        yield Finding(NAME, difference.name, "error", what, _OTHER, {"kind": "manifest", "what": difference.what})


def signature_findings(
    source: Source, signature: str, key: str | None = None, certificates: Sequence[str] = ()
) -> Iterator[Finding]:
    """What an OpenSSF model signature says: nothing where it is right.

    Right is what the owner of a public key signed, or the owner of a certificate that some trusted `certificates` lead
    to; both are the names of files in PEM. Raises MissingExtraError without the library `model-signing`, ReadError for
    a file that is not there, StatedictError for what cannot be signed.
    """
    signing = needed(
        "model_signing.verifying", "signing", f"{source.name}: has a signature, which model-signing verifies"
    )
    if not isinstance(source, FileSource | Folder):
        raise StatedictError(f"{source.name}: is no file or folder, which alone can be signed")
    for file in (signature, *([] if key is None else [key]), *certificates):
        FileSource(file)  # which fails where there is none
    try:
        config = signing.Config()
        if key is None:
            config.use_certificate_verifier(certificate_chain=list(map(Path, certificates)))
        else:
            config.use_elliptic_key_verifier(public_key=Path(key))
        config.verify(source.path, Path(signature))
    except Exception as error:  # noqa: BLE001 - its libraries raise their own; whatever it is, nothing is verified
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        what = f"is not what `{signature}` signs: {reason}"
        yield Finding(NAME, source.name, "error", what, _UNSIGNED, {"kind": "signature"})
