"""The object-code cache on disk: relocatable object bytes and a line of JSON, one file per key. No
pickle.

A key is the hash of everything the bytes depend on: source text, versions of what compiled it, the
CPU's name and features. An entry is written to a temporary file, flushed to the disk and renamed,
so that a reader sees a whole entry or none. Whatever is wrong with one (truncated, garbled, of
another key, of other versions) makes it a miss; it is then compiled and written anew. Since an
entry is code that will run, the folder and every file must belong to this user and be writable by
nobody else; otherwise the cache is off.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
import warnings
from pathlib import Path

MAGIC = b"flambeau object 1\n"
LIMIT = 64 * 1024 * 1024
"""Bytes of the largest file that is read at all."""


def key_of(*parts: str) -> str:
    """The key of what is made from `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def _trusted(status: os.stat_result, folder: bool) -> bool:
    """Owned by us, written by nobody else, and really a folder or a plain file."""
    kind = stat.S_ISDIR(status.st_mode) if folder else stat.S_ISREG(status.st_mode)
    return kind and status.st_uid == os.geteuid() and not status.st_mode & 0o022


class Cache:
    """Entries of (object code, symbol) in `folder`, which is made (mode 0700) where it is missing.

    Errors of the file system never surface: they make a `get` a miss and a `put` a no-op. A folder
    that others can write to is refused with a RuntimeWarning.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.hits = self.misses = self.defects = 0
        self._usable: bool | None = None

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.object"

    def _open_folder(self) -> int | None:
        """A descriptor of the folder, through which alone its files are reached; None if it cannot
        be trusted.
        """
        if self._usable is False:
            return None
        try:
            if self._usable is None:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return None
        if _trusted(os.fstat(folder), folder=True):
            self._usable = True
            return folder
        os.close(folder)
        self._usable = False
        warnings.warn(
            f"the kernel cache {str(self.folder)!r} belongs to another user or is writable by others: it is not used. "
            "Remove it, or set FLAMBEAU_CACHE_DIR to a folder of your own.",
            RuntimeWarning,
            stacklevel=4,
        )
        return None

    def get(self, key: str) -> tuple[bytes, str] | None:
        """The entry of a key, or None."""
        folder = self._open_folder()
        if folder is None:
            self.misses += 1
            return None
        try:
            entry = self._read(folder, key)
        except FileNotFoundError:
            entry = None
        except (OSError, ValueError, KeyError, TypeError):
            self.defects += 1
            entry = None
        finally:
            os.close(folder)
        if entry is None:
            self.misses += 1
        else:
            self.hits += 1
        return entry

    def _read(self, folder: int, key: str) -> tuple[bytes, str]:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self.path(key).name, flags, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not _trusted(status, folder=False) or status.st_size > LIMIT:
                raise ValueError("not a file of our own")
            data = file.read(LIMIT)
        if not data.startswith(MAGIC):
            raise ValueError("not an entry")
        line, newline, object_code = data[len(MAGIC) :].partition(b"\n")
        header = json.loads(line)
        symbol = header["symbol"]
        if not newline or header["key"] != key or not isinstance(symbol, str):
            raise ValueError("another entry")
        if header["size"] != len(object_code):
            raise ValueError("truncated")
        if header["sha256"] != _checksum(object_code, symbol):
            raise ValueError("garbled")
        return object_code, symbol

    def put(
        self, key: str, object_code: bytes, symbol: str, about: dict[str, str] | None = None
    ) -> None:
        """Keep an entry; readers see it whole or not at all. `about` is for people: what the key was made of."""
        folder = self._open_folder()
        if folder is None:
            return
        header = {
            "key": key, "symbol": symbol, "size": len(object_code),
            "sha256": _checksum(object_code, symbol), "about": about or {},
        }
        data = MAGIC + json.dumps(header).encode() + b"\n" + object_code
        temporary = None
        try:
            descriptor, temporary = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".part")
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path(key))
            os.fsync(folder)
        except OSError:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
        finally:
            os.close(folder)

    def describe(self) -> list[tuple[str, int, float, dict[str, str]]]:
        """Key, bytes, time of writing and `about` of every entry, oldest first."""
        folder = self._open_folder()
        if folder is None:
            return []
        found = []
        try:
            for path in self.folder.glob("*.object"):
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                    found.append((path.stem, *self._about(folder, path.name)))
        finally:
            os.close(folder)
        return sorted(found, key=lambda entry: entry[2])

    def _about(self, folder: int, name: str) -> tuple[int, float, dict[str, str]]:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
            status = os.fstat(file.fileno())
            if not _trusted(status, folder=False) or file.readline() != MAGIC:
                raise ValueError("not an entry of our own")
            about = json.loads(file.readline(65536)).get("about", {})
        return status.st_size, status.st_mtime, {str(k): str(v) for k, v in about.items()}

    def sweep(self, older_than: float = 3600.0) -> int:
        """Remove what writers that were killed left behind; the number of files removed."""
        import time

        removed = 0
        now = time.time()
        for path in self.folder.glob(".*.part"):
            with contextlib.suppress(OSError):
                if now - path.stat().st_mtime > older_than:
                    path.unlink()
                    removed += 1
        return removed


def _checksum(object_code: bytes, symbol: str) -> str:
    return hashlib.sha256(symbol.encode() + b"\0" + object_code).hexdigest()
