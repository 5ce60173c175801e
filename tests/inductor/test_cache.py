"""The object-code cache: what it keeps survives kills, truncation and garbage, and is never a way
to run foreign code.
"""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from inductor.cache import MAGIC, Cache, key_of

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys, numpy as np
sys.path.insert(0, {root!r})
from inductor.cache import Cache
from inductor.codegen import build
source = '''def kernel(arguments, start, stop):
    in0 = pointer_float32(arguments[0])
    out1 = pointer_float32(arguments[1])
    for i0 in range(start, stop):
        t0 = load(in0, i0)
        store(out1, i0, exp_float32(t0))
    return int32(0)
'''
function = build.kernel(source, Cache({folder!r}))
x = np.linspace(-1, 1, 100).astype(np.float32); y = np.zeros(100, np.float32)
words = np.array([x.ctypes.data, y.ctypes.data], np.int64)
assert function(words.ctypes.data, 0, 100) == 0
assert np.allclose(y, np.exp(x), rtol=1e-6)
print("compiled", build.counters.compiled, "loaded", build.counters.loaded)
"""


def start(folder, **more):
    program = PROGRAM.format(root=str(ROOT), folder=str(folder))
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


def run(folder):
    process = start(folder)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return out.strip()


def test_an_entry_comes_back(tmp_path):
    cache = Cache(tmp_path / "kernels")
    key = key_of("source", "cpu")
    assert cache.get(key) is None
    cache.put(key, b"\x7fELF code", "symbol")
    assert cache.get(key) == (b"\x7fELF code", "symbol")
    assert (tmp_path / "kernels").stat().st_mode & 0o777 == 0o700


def test_keys_depend_on_every_part():
    assert len({key_of("ab", "c"), key_of("a", "bc"), key_of("abc"), key_of("ab", "c", "")}) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-3],
        lambda data: data[: len(MAGIC) + 5],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: os.urandom(len(data)),
        lambda data: MAGIC + b"{not json\n" + data[60:],
        lambda data: MAGIC + b'["a", "list"]\n' + b"x",
        lambda data: data.replace(b'"symbol": "symbol"', b'"symbol": "system"'),
        lambda data: b"\x80\x04" + data,
    ],
)
def test_any_defect_is_a_miss(tmp_path, damage):
    cache, key = Cache(tmp_path / "kernels"), key_of("k")
    cache.put(key, b"\x7fELF" + b"code" * 50, "symbol")
    path = cache.path(key)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get(key) is None and cache.defects == 1
    cache.put(key, b"\x7fELF", "symbol")
    assert cache.get(key) == (b"\x7fELF", "symbol")


def test_an_entry_under_another_key_is_a_miss(tmp_path):
    cache = Cache(tmp_path / "kernels")
    cache.put(key_of("a"), b"code", "symbol")
    os.rename(cache.path(key_of("a")), cache.path(key_of("b")))
    assert cache.get(key_of("b")) is None


def test_what_others_could_have_written_is_refused(tmp_path):
    folder = tmp_path / "kernels"
    cache, key = Cache(folder), key_of("a")
    cache.put(key, b"code", "symbol")
    os.chmod(cache.path(key), 0o666)
    assert cache.get(key) is None
    os.chmod(cache.path(key), 0o600)
    assert cache.get(key) is not None
    os.chmod(folder, 0o777)
    open_to_all = Cache(folder)
    with pytest.warns(RuntimeWarning, match="writable by others"):
        assert open_to_all.get(key) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it says so once
        open_to_all.put(key, b"other", "symbol")
    os.chmod(folder, 0o700)
    assert Cache(folder).get(key) == (b"code", "symbol")


def test_a_link_is_not_followed(tmp_path):
    cache, key = Cache(tmp_path / "kernels"), key_of("a")
    cache.put(key, b"code", "symbol")
    elsewhere = tmp_path / "elsewhere"
    os.rename(cache.path(key), elsewhere)
    os.symlink(elsewhere, cache.path(key))
    assert cache.get(key) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_files_of_another_user_are_refused(tmp_path):
    cache, key = Cache(tmp_path / "kernels"), key_of("a")
    cache.put(key, b"code", "symbol")
    os.chown(cache.path(key), 12345, -1)
    assert cache.get(key) is None
    os.chown(cache.folder, 12345, -1)
    with pytest.warns(RuntimeWarning, match="another user"):
        assert Cache(cache.folder).get(key) is None


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "kernels")
    cache.put(key_of("a"), b"code", "symbol")
    assert cache.get(key_of("a")) is None


def test_processes_share_what_they_compile_and_survive_defects(tmp_path):
    """A new process loads; a truncated entry is compiled again."""
    folder = tmp_path / "kernels"
    assert run(folder) == "compiled 1 loaded 0"
    assert run(folder) == "compiled 0 loaded 1"
    (entry,) = folder.glob("*.object")
    whole = entry.read_bytes()
    entry.write_bytes(whole[: len(whole) // 2])
    assert run(folder) == "compiled 1 loaded 0"
    assert entry.read_bytes()[-100:] == whole[-100:] or len(entry.read_bytes()) > len(whole) // 2
    assert run(folder) == "compiled 0 loaded 1"


def test_kill_in_the_middle_of_a_compile(tmp_path):
    folder = tmp_path / "kernels"
    for delay in (0.4, 1.0, 1.6):
        process = start(folder)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    run(folder)
    assert run(folder) == "compiled 0 loaded 1"


def test_what_a_killed_writer_left_is_swept(tmp_path):
    cache = Cache(tmp_path / "kernels")
    cache.put(key_of("a"), b"code", "symbol")
    left = cache.folder / ".abc.part"
    left.write_bytes(b"half")
    assert cache.sweep() == 0
    os.utime(left, (0, 0))
    assert cache.sweep() == 1 and not left.exists()
    assert cache.get(key_of("a")) is not None


def test_entries_say_what_they_depend_on(tmp_path):
    cache = Cache(tmp_path / "kernels")
    cache.put(key_of("a"), b"code", "symbol", {"kind": "kernel", "cpu": "this"})
    cache.put(key_of("b"), b"code", "symbol")
    (cache.folder / "c.object").write_bytes(b"garbage")
    found = {key: about for key, _, _, about in cache.describe()}
    assert found == {key_of("a"): {"kind": "kernel", "cpu": "this"}, key_of("b"): {}}
    assert cache.get(key_of("a")) == (b"code", "symbol")


def test_why_miss_counts_what_changed(tmp_path, monkeypatch, capsys):
    from flambeau.__main__ import main
    from inductor import config
    from inductor.codegen import build
    from inductor.templates import template

    monkeypatch.setitem(config._set, "cache", str(tmp_path / "kernels"))
    cache = Cache(tmp_path / "kernels")
    now = {"kind": "kernel", **build.about(build._library_digest())}
    cache.put(key_of("a"), b"code", "symbol", now)
    cache.put(key_of("b"), b"code", "symbol", {**now, "llvmlite": "llvmlite 0.1"})
    cache.put(key_of("c"), b"code", "symbol", {**now, "flambeau": "other"})
    cache.put(key_of("d"), b"code", "symbol")
    of_templates = build.about(template.digest())
    cache.put(key_of("e"), b"times", "direct", {"kind": "tuning", **of_templates})
    assert main(["cache", "why-miss"]) == 0
    said = capsys.readouterr().out
    assert "2 can be found" in said and "llvmlite (llvmlite 0.1, now" in said
    assert "sources of flambeau's compiler" in said and "older flambeau" in said
    assert main(["cache", "ls"]) == 0 and main(["cache", "info"]) == 0
    assert main(["cache", "clear"]) == 0 and not list(cache.folder.glob("*.object"))
