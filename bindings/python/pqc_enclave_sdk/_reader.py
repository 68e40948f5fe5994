# SPDX-License-Identifier: Apache-2.0
"""An artifact as a file."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, NoReturn

from ._artifacts import ArtifactMetadata, metadata_from_fields

if TYPE_CHECKING:
    from . import _native
    from ._native import Buffer, WriteableBuffer
    from ._store import Store


class ArtifactReader(io.RawIOBase):
    """An artifact opened for reading: a raw, seekable, read-only binary file without a buffer of its own.

    It stays on the version it opened even if that is replaced or deleted, and raises `EnclaveLockedError` once the
    vault is locked. `read_at` and `readinto_at` may be called from many threads at once; the others move the position
    and are for one thread at a time. Wrap it in ``io.BufferedReader`` for many small reads.
    """

    def __init__(self, native: _native.Reader, store: Store) -> None:
        super().__init__()
        self._native = native
        self._store = store  # which closes the vault when nobody refers to it
        self._position = 0
        self.metadata: ArtifactMetadata = metadata_from_fields(native.artifact)

    @property
    def name(self) -> str:
        """The artifact's name."""
        return self.metadata.name

    @property
    def mode(self) -> str:
        return "rb"

    def __len__(self) -> int:
        return self._native.size

    def __bool__(self) -> bool:
        return True

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes at ``offset``, fewer only where the artifact ends; the position stays."""
        return self._native.read_at(_not_negative("offset", offset), _not_negative("size", size))

    def readinto_at(self, offset: int, buffer: WriteableBuffer) -> int:
        """The same into a writable buffer, for instance a numpy array; returns the number of bytes."""
        return self._native.readinto_at(_not_negative("offset", offset), buffer)

    def readable(self) -> bool:
        self._check_open()
        return True

    def seekable(self) -> bool:
        self._check_open()
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        n = self._native.readinto_at(self._position, buffer)
        self._position += n
        return n

    def read(self, size: int | None = -1) -> bytes:
        """``size`` bytes, fewer only where the artifact ends; None or a negative number: all that is left."""
        left = max(0, self._native.size - self._position)
        data = self._native.read_at(self._position, left if size is None or size < 0 else min(size, left))
        self._position += len(data)
        return data

    def write(self, data: Buffer) -> NoReturn:
        raise io.UnsupportedOperation("not writable")

    def readall(self) -> bytes:
        return self.read()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check_open()
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._native.size}
        if whence not in bases:
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        position = bases[whence] + offset
        if position < 0:
            raise ValueError(f"negative seek position {position}")
        self._position = position
        return position

    def tell(self) -> int:
        self._check_open()
        return self._position

    def close(self) -> None:
        """Wipes the keys of the artifact."""
        if not self.closed:
            self._native.close()
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on a closed artifact")


def _not_negative(name: str, value: int) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an int")
    if value < 0:
        raise ValueError(f"{name} is negative")
    return value
