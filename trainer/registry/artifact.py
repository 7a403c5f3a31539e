"""Artifacts: fitted estimators as bytes, written by skops without pickle, of allowed types only.

The same object has the same bytes and hash: memory addresses and times that skops writes into its
archive are replaced.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
from importlib.metadata import version
from typing import Any, Final
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

import skops.io
from skops.io.exceptions import UnsupportedTypeException, UntrustedTypesFoundException

from trainer.registry.errors import CorruptArtifact, NotStorable, UntrustedType

_RECORDED_LIBRARIES: Final = ("scikit-learn", "numpy", "pandas", "skops")


def libraries() -> dict[str, str]:
    """Return the versions of Python and of the libraries that write artifacts.

    scikit-learn is not compatible across versions.
    """
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in _RECORDED_LIBRARIES},
    }


TRUSTED_TYPES: Final = (
    # Trees.  skops does not trust them because a crafted file could contain node indices out of
    # range, which scikit-learn does not check.  Here an artifact is loaded only after its SHA-256
    # was compared with the announced one, so it is the file that the fit wrote.
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    # Parts of fitted estimators that contain numbers and names only.
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._bunch.Bunch",
    "numpy.dtype",
    # Boosting on categories checks its input with such a function.  The function of a partial is
    # audited like any other part: it must be in this list, or trusted by skops.
    "functools.partial",
    "sklearn.utils.validation.check_array",
)
"""Types allowed beyond those that skops trusts by itself: scikit-learn, numpy, plain Python."""

_SCHEMA: Final = "schema.json"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time of a zip archive


def dump(estimator: Any) -> bytes:
    """Encode a fitted estimator; the same object gives the same bytes.

    Raises:
        NotStorable: skops cannot write the estimator.
        UntrustedType: the estimator contains a type outside the allow-list.
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
    """Decode an artifact whose hash the caller has verified.

    Raises:
        CorruptArtifact: the bytes are not an artifact.
        UntrustedType: the artifact contains a type outside the allow-list.
    """
    require_trusted(data)
    try:
        return skops.io.loads(data, trusted=list(TRUSTED_TYPES))
    except UntrustedTypesFoundException as error:
        raise UntrustedType(untrusted_types(data)) from error
    except Exception as error:  # skops and constructors may raise anything on bad content
        raise CorruptArtifact(f"the artifact cannot be decoded: {error}") from error


def require_trusted(data: bytes) -> None:
    """Reject an artifact with a type outside the allow-list.

    Raises:
        CorruptArtifact: the bytes are not an artifact.
        UntrustedType: the artifact contains such a type.
    """
    if names := untrusted_types(data):
        raise UntrustedType(names)


def untrusted_types(data: bytes) -> list[str]:
    """Return the types of an artifact outside the allow-list, sorted.

    Raises:
        CorruptArtifact: the bytes are not an artifact.
    """
    try:
        names: list[str] = skops.io.get_untrusted_types(data=data)
    except (BadZipFile, KeyError, TypeError, ValueError, OSError) as error:
        raise CorruptArtifact(f"not a skops artifact: {error}") from error
    return sorted(set(names) - set(TRUSTED_TYPES))


def sha256_of(data: bytes) -> str:
    """Return the name of an artifact, its SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _canonical(data: bytes) -> bytes:
    """Return the archive with parts numbered in order of appearance, and without times."""
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
