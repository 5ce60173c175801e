"""The zip archive of a `.pt` file: a record is checked against the file's real size before a byte of it is read.

PyTorch stores records uncompressed, so a compressed record, or records that claim more bytes than the file has, mean that the
file is damaged or hostile: RuntimeError. Memory taken is therefore never more than the size of the file.
"""

from __future__ import annotations

import os
import struct
import zipfile
from typing import IO, Any

import numpy as np

ALIGNMENT = 64
_LOCAL_HEADER = 30
# what zipfile raises for a directory or a record whose bytes are wrong
_DAMAGE = (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, OSError, struct.error, OverflowError)
_PADDING_FIELD = 0x4246  # the extra field PyTorch pads with: "FB"


class Reader:
    """The records of an archive, by their name below its top folder. Raises RuntimeError for what is no such archive."""

    def __init__(self, file: str | os.PathLike | IO[bytes], mmap: bool = False):
        self.path = os.fspath(file) if isinstance(file, (str, os.PathLike)) else None
        if mmap and self.path is None:
            raise ValueError("f must be a string filename in order to use mmap argument")
        self.mmap = mmap
        self.file: IO[bytes] = open(self.path, "rb") if self.path is not None else file  # type: ignore
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self.file.seek(0, os.SEEK_END)
        self.size = self.file.tell()
        self.file.seek(0)
        try:
            self.zip = zipfile.ZipFile(self.file)
        except _DAMAGE as error:
            raise RuntimeError(
                f"{self.path or 'the file'} is not a zip archive ({error}): it is truncated, or it was written by "
                "something else. flambeau reads what torch.save writes"
            ) from None
        self.records = self._check(self.zip.infolist())
        folders = [name[: -len("data.pkl")] for name in self.records if name.endswith("/data.pkl")]
        if len(folders) != 1:
            raise RuntimeError(
                f"{self.path or 'the file'} has {len(folders)} records named data.pkl, a .pt archive has one"
                + (" (TorchScript archives are not read)" if "constants.pkl" in str(self.records) else "")
            )
        self.folder = folders[0]
        self.swapped = "byteorder" in self and self.read("byteorder").tobytes() == b"big"

    def _check(self, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        total = 0
        for info in infos:
            total += info.file_size
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise RuntimeError(f"record {info.filename} is compressed: torch.save never does that")
            if info.flag_bits & 1:
                raise RuntimeError(f"record {info.filename} is encrypted")
            if total > self.size or info.header_offset + info.file_size > self.size:
                raise RuntimeError(
                    f"record {info.filename} claims {info.file_size} bytes, more than the file of {self.size} bytes holds"
                )
        return {info.filename: info for info in infos}

    def __contains__(self, name: str) -> bool:
        return self.folder + name in self.records

    def length(self, name: str) -> int:
        """The size of a record in bytes. Raises RuntimeError if it is missing."""
        return self._info(name).file_size

    def _info(self, name: str) -> zipfile.ZipInfo:
        info = self.records.get(self.folder + name)
        if info is None:
            raise RuntimeError(f"the archive has no record {name}: it is damaged or incomplete")
        return info

    def read(self, name: str) -> np.ndarray:
        """The bytes of a record as a writable uint8 array; mapped copy-on-write if the archive was opened with `mmap`."""
        info = self._info(name)
        if self.mmap and info.file_size and self.path is not None:
            return np.memmap(
                self.path, np.uint8, "c", self._data_offset(info), (info.file_size,)
            ).view(np.ndarray)
        try:
            return np.frombuffer(bytearray(self.zip.read(info)), np.uint8)
        except _DAMAGE as error:
            raise RuntimeError(f"record {name} is damaged: {error}") from None

    def storage(self, key: str, size: int) -> np.ndarray:
        """The bytes of a storage. Raises RuntimeError if it has another size."""
        found = self.length(f"data/{key}")
        if found != size:
            raise RuntimeError(f"storage {key} should have {size} bytes, its record has {found}")
        return self.read(f"data/{key}")

    def _data_offset(self, info: zipfile.ZipInfo) -> int:
        self.file.seek(info.header_offset)
        header = self.file.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or header[:4] != b"PK\3\4":
            raise RuntimeError(f"record {info.filename} is damaged: no header at {info.header_offset}")
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        start = info.header_offset + _LOCAL_HEADER + name_length + extra_length
        if start + info.file_size > self.size:
            raise RuntimeError(f"record {info.filename} reaches past the end of the file")
        return start

    def close(self) -> None:
        if self.path is not None:
            self.file.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Writer:
    """Writes the records of an archive, each uncompressed and starting at a multiple of 64 bytes."""

    def __init__(self, file: str | os.PathLike | IO[bytes]):
        named = isinstance(file, (str, os.PathLike))
        stem = os.path.splitext(os.path.basename(os.fspath(file)))[0] if named else ""  # type: ignore
        self.folder = (stem or "archive") + "/"
        self.zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)  # type: ignore[arg-type]

    def write(self, name: str, data: Any) -> None:
        info = zipfile.ZipInfo(self.folder + name, (1980, 1, 1, 0, 0, 0))
        info.extra = self._padding(info)
        self.zip.writestr(info, data)

    def _padding(self, info: zipfile.ZipInfo) -> bytes:
        start = self.zip.start_dir + _LOCAL_HEADER + len(info.filename.encode()) + 4
        length = -start % ALIGNMENT
        return struct.pack("<HH", _PADDING_FIELD, length) + b"Z" * length

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self.zip.close()
