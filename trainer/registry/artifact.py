"""A fitted estimator as bytes, written by skops: no pickle, and only types that were reviewed.

The bytes follow from the object: skops names the parts of its archive by their address in memory
and stamps them with the time, which is taken out here, so that one object has one hash.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any, Final
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

import skops.io
from skops.io.exceptions import UnsupportedTypeException, UntrustedTypesFoundException

from trainer.registry.errors import CorruptArtifact, NotStorable, UntrustedType

TRUSTED_TYPES: Final = (
    # Trees.  skops leaves them out because a crafted file could hold node indices out of range,
    # which scikit-learn follows unchecked.  Here an artifact is loaded only after its SHA-256 was
    # compared with the one announced, so it is the file that the fit wrote.
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    # Parts of fitted estimators that hold numbers and names only.
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._bunch.Bunch",
    "numpy.dtype",
    # Boosting on categories checks its input by such a function.  What a partial calls is audited
    # like any other part: it can only be a function of this list, or one skops trusts.
    "functools.partial",
    "sklearn.utils.validation.check_array",
)
"""Types allowed beyond those that skops trusts by itself: scikit-learn, numpy, plain Python."""

_SCHEMA: Final = "schema.json"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first moment a zip archive can name


def dump(estimator: Any) -> bytes:
    """The artifact of a fitted estimator: the same bytes for the same object.

    Raises:
        NotStorable: skops cannot write it.
        UntrustedType: it could not be loaded again.
    """
    try:
        data: bytes = skops.io.dumps(estimator)
        require_trusted(data)
    except (UnsupportedTypeException, RecursionError, AttributeError, TypeError) as error:
        if isinstance(error, UntrustedType):
            raise
        raise NotStorable(f"skops cannot write {type(estimator).__name__}: {error}") from error
    return _canonical(data)


def load(data: bytes) -> Any:
    """The estimator of an artifact.  Verify its hash before.

    Raises:
        CorruptArtifact: it is none.
        UntrustedType: it holds a type outside the allow-list.
    """
    require_trusted(data)
    try:
        return skops.io.loads(data, trusted=list(TRUSTED_TYPES))
    except UntrustedTypesFoundException as error:
        raise UntrustedType(untrusted_types(data)) from error
    except Exception as error:  # whatever skops and constructors raise on bad content
        raise CorruptArtifact(f"no model can be made of it: {error}") from error


def require_trusted(data: bytes) -> None:
    """Name the types of an artifact outside the allow-list.

    Raises:
        CorruptArtifact: it is no artifact.
        UntrustedType: there are some.
    """
    if names := untrusted_types(data):
        raise UntrustedType(names)


def untrusted_types(data: bytes) -> list[str]:
    """The types of an artifact outside the allow-list, sorted.

    Raises:
        CorruptArtifact: it is no artifact.
    """
    try:
        names: list[str] = skops.io.get_untrusted_types(data=data)
    except (BadZipFile, KeyError, TypeError, ValueError, OSError) as error:
        raise CorruptArtifact(f"not a skops artifact: {error}") from error
    return sorted(set(names) - set(TRUSTED_TYPES))


def sha256_of(data: bytes) -> str:
    """The name of an artifact, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _canonical(data: bytes) -> bytes:
    """The archive with its parts numbered in the order they are met, and no time of day."""
    with ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist() if name != _SCHEMA}
        schema = json.loads(archive.read(_SCHEMA))
    files: dict[str, str] = {}
    _renumber(schema, parts, {}, files)
    canonical = io.BytesIO()
    with ZipFile(canonical, "w", compression=ZIP_DEFLATED) as archive:
        for old, new in files.items():
            _write(archive, new, parts[old])
        _write(archive, _SCHEMA, json.dumps(schema, separators=(",", ":")).encode())
    return canonical.getvalue()


def _write(archive: ZipFile, name: str, content: bytes) -> None:
    entry = ZipInfo(name, _EPOCH)
    entry.compress_type = ZIP_DEFLATED
    archive.writestr(entry, content)


def _renumber(
    node: Any, parts: dict[str, bytes], ids: dict[int, int], files: dict[str, str]
) -> None:
    """Replace addresses and file names in the schema by their order of appearance."""
    if isinstance(node, list):
        for child in node:
            _renumber(child, parts, ids, files)
    if not isinstance(node, dict):
        return
    for name, child in node.items():
        if name == "__id__" and isinstance(child, int):
            node[name] = ids.setdefault(child, len(ids) + 1)
        elif isinstance(child, str) and child in parts:
            suffix = child.rpartition(".")[2]
            node[name] = files.setdefault(child, f"{len(files)}.{suffix}")
        else:
            _renumber(child, parts, ids, files)
