"""Which PyPI distributions a conda package already is, so that pip does not install them again.

Most names are the same up to PEP 503 normalisation. The table has those that differ, from
conda-forge's feedstocks; a name that is missing here costs a duplicate, never a wrong package.
"""

from __future__ import annotations

from collections.abc import Iterable

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envsync.model.lock import LockedPackage

_OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
_NAMES: dict[str, tuple[str, ...]] = {
    "brotli-python": ("brotli",),
    "cuda-python": ("cuda-python",),
    "dask-core": ("dask",),
    "faiss": ("faiss-cpu",),
    "faiss-gpu": ("faiss-gpu", "faiss-cpu"),
    "matplotlib-base": ("matplotlib",),
    "msgpack-python": ("msgpack",),
    "opencv": _OPENCV,
    "py-opencv": _OPENCV,
    "py-xgboost": ("xgboost",),
    "py-xgboost-cpu": ("xgboost",),
    "py-xgboost-gpu": ("xgboost",),
    "pyarrow-core": ("pyarrow",),
    "pyqt": ("pyqt5",),
    "pytables": ("tables",),
    "python-build": ("build",),
    "python-duckdb": ("duckdb",),
    "python-fastjsonschema": ("fastjsonschema",),
    "python-flatbuffers": ("flatbuffers",),
    "python-graphviz": ("graphviz",),
    "python-kaleido": ("kaleido",),
    "python-lmdb": ("lmdb",),
    "python-tzdata": ("tzdata",),
    "python-wget": ("wget",),
    "python-xxhash": ("xxhash",),
    "pytorch": ("torch",),
    "pytorch-cpu": ("torch",),
    "pytorch-gpu": ("torch",),
    "ray-core": ("ray",),
    "ray-default": ("ray",),
    "ruamel_yaml": ("ruamel-yaml",),
    "sentencepiece-python": ("sentencepiece",),
    "tensorflow-base": ("tensorflow",),
    "tensorflow-cpu": ("tensorflow-cpu", "tensorflow"),
    "tensorflow-gpu": ("tensorflow",),
    "uvicorn-standard": ("uvicorn",),
}
_PYTHON = frozenset({"python", "python_abi", "pypy"})
_NEVER = frozenset({"python", "python_abi", "python-gil", "cpython"})


def distributions(package: LockedPackage) -> tuple[str, ...]:
    """Return the normalised names of the distributions that a conda package is.

    Only what depends on python counts: conda's ``graphviz`` is a program, PyPI's is another thing.
    """
    if package.manager != "conda" or package.name in _NEVER or not _PYTHON & set(package.depends):
        return ()
    return _NAMES.get(package.name, (canonicalize_name(package.name),))


def provided(packages: Iterable[LockedPackage]) -> dict[str, str]:
    """Return distribution name to version for what conda packages provide, sorted by name.

    A conda version that is no PEP 440 version is left out: nothing can be compared with it.
    """
    found: dict[str, str] = {}
    for package in packages:
        for name in distributions(package):
            try:
                found.setdefault(name, str(Version(package.version)))
            except InvalidVersion:
                continue
    return dict(sorted(found.items()))
