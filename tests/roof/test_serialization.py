"""Files: `.pt` archives round trip and both ways with torch, hostile ones are refused; safetensors headers that lie are refused."""

import collections
import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest

import eager.serialization as serialization
from eager.construct import from_numpy, tensor
from eager.device import device
from eager.dtype import ALL, float32
from eager.serialization import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    load,
    load_safetensors,
    read_metadata,
    safe_globals,
    save,
    save_safetensors,
)
from eager.shape import Size


class Trusted:
    def __init__(self):
        self.value = 3


def ones(kind, count=3):
    return from_numpy(np.ones(count, kind.numpy))


def content():
    return {
        "numbers": [1, 2.5, None, True, 10**30, -1, 300, 70000],
        "text": "é",
        "bytes": b"ab",
        "set": {1, 2},
        "pair": (1, (2, ())),
        "dtype": float32,
        "size": Size((1, 2)),
        "device": device("cpu"),
        "order": collections.OrderedDict(b=1, a=2),
    }


@pytest.mark.parametrize("mmap", [False, True])
def test_round_trip(tmp_path, mmap):
    path = tmp_path / "a.pt"
    save(content(), path)
    assert load(path, mmap=mmap) == content()


@pytest.mark.parametrize("kind", ALL, ids=str)
def test_every_dtype(tmp_path, kind):
    save({"x": ones(kind)}, tmp_path / "a.pt")
    found = load(tmp_path / "a.pt")["x"]
    assert found.dtype is kind and found._array.tobytes() == ones(kind)._array.tobytes()


def test_views_share_memory_and_nothing_else_is_written(tmp_path):
    whole = from_numpy(np.arange(10_000, dtype=np.float32))
    part = from_numpy(whole._array[10:20])
    save([part, from_numpy(part._array[::2])], tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size < 3000
    first, second = load(tmp_path / "a.pt")
    assert second.stride() == (2,)
    first._array[0] = -1
    assert second._array.tolist() == [-1, 12, 14, 16, 18]


def test_unusual_strides(tmp_path):
    base = np.arange(12, dtype=np.int64).reshape(3, 4)
    arrays = [base.T, base[:, ::-1], np.broadcast_to(base[0], (5, 4)), base[:0], np.array(7)]
    save([from_numpy(array) for array in arrays], tmp_path / "a.pt")
    for found, array in zip(load(tmp_path / "a.pt"), arrays, strict=True):
        np.testing.assert_array_equal(found._array, array)


def test_mapped_file_is_not_written(tmp_path):
    save([tensor([1.0, 2.0])], tmp_path / "a.pt")
    before = (tmp_path / "a.pt").read_bytes()
    (found,) = load(tmp_path / "a.pt", mmap=True)
    found._array[0] = 5
    del found
    assert (tmp_path / "a.pt").read_bytes() == before


def test_file_objects():
    file = io.BytesIO()
    save({"a": tensor([1, 2])}, file)
    assert load(io.BytesIO(file.getvalue()))["a"].tolist() == [1, 2]
    with pytest.raises(ValueError, match="mmap"):
        load(file, mmap=True)


def archive(path, pickled, records=(), **options):
    with zipfile.ZipFile(path, "w", **options) as file:
        file.writestr("a/data.pkl", pickled)
        for name, data in records:
            file.writestr(f"a/data/{name}", data)
    return path


class Evil:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "attack",
    [
        Evil(eval, ("1/0",)),
        Evil(print, ("hello",)),
        Evil(getattr, (tensor, "__globals__")),
        Evil(io.BytesIO, ()),
        {"deep": [Evil(eval, ("1/0",))]},
    ],
    ids=["eval", "print", "getattr", "BytesIO", "nested"],
)
@pytest.mark.parametrize("weights_only", [None, True, False])
def test_foreign_globals_are_refused_whatever_is_asked(tmp_path, attack, weights_only, capsys):
    path = archive(tmp_path / "a.pt", pickle.dumps(attack, 2))
    with pytest.raises(pickle.UnpicklingError, match="not an allowed global"):
        load(path, weights_only=weights_only)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b".",
        b"\x80\x02",
        b"\x80\x02}q\x00X\xff\xff\xff\xffab.",
        b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x02ctorch\nfloat32\n)R.",
        b"\x80\x02K\x01)R.",
        b"\x80\x02cbuiltins\nset\n]]a\x85R.",
        b"\x80\x02]K\x01a}b.",
        b"\x80\x02h\x05.",
        b"\x80\x02P1\n.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02(X\x01\x00\x00\x00atQ.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)}b.",
    ],
)
def test_damaged_pickles(tmp_path, pickled):
    with pytest.raises(pickle.UnpicklingError):
        load(archive(tmp_path / "a.pt", pickled))


@pytest.mark.parametrize("cut", [0, 10, 100, 300, 500])
def test_truncated_archive(tmp_path, cut):
    path = tmp_path / "a.pt"
    save({"x": tensor([1.0] * 50)}, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(RuntimeError, match="not a zip archive"):
        load(path)


def test_flipped_byte_in_the_data(tmp_path):
    path = tmp_path / "a.pt"
    save({"x": tensor([1.0] * 50)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(b"\x00\x00\x80\x3f" * 10)] ^= 1
    path.write_bytes(data)
    with pytest.raises(RuntimeError, match="damaged"):
        load(path)


def rebuild(count=4, offset=0, size=(4,), stride=(1,)):
    """A pickled tensor over a float storage of `count` numbers."""
    spans, copies = {}, {}
    file = io.BytesIO()
    serialization.pickler.Pickler(file, spans, copies).dump(
        serialization.pickler._Reduced(
            serialization.pickler.Global("torch._utils", "_rebuild_tensor_v2"),
            (
                serialization.pickler._Storage(("torch", "FloatStorage"), "0", count),
                offset,
                size,
                stride,
                False,
                collections.OrderedDict(),
            ),
        )
    )
    return file.getvalue()


def test_lying_storages_and_tensors(tmp_path):
    path, data = tmp_path / "a.pt", b"\0" * 16
    assert load(archive(path, rebuild(), [("0", data)])).tolist() == [0.0] * 4
    for lie in (
        rebuild(count=5),
        rebuild(count=10**15),
        rebuild(size=(5,)),
        rebuild(offset=1),
        rebuild(stride=(2,)),
        rebuild(size=(2**62,), stride=(2**62,)),
    ):
        with pytest.raises(RuntimeError, match="bytes|past its storage"):
            load(archive(path, lie, [("0", data)]))
    for lie in (rebuild(offset=-1), rebuild(stride=(-1,)), rebuild(size=(4, 1)), rebuild(size=(1.5,))):
        with pytest.raises(pickle.UnpicklingError):
            load(archive(path, lie, [("0", data)]))
    with pytest.raises(RuntimeError, match="no record data/0"):
        load(archive(path, rebuild()))


def test_compressed_records_are_refused(tmp_path):
    path = archive(tmp_path / "a.pt", pickle.dumps([b"\0" * 10**6], 2), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(RuntimeError, match="compressed"):
        load(path)


def test_trusted_classes(tmp_path):
    path = tmp_path / "a.pt"
    save({"a": Trusted()}, path)
    with pytest.raises(pickle.UnpicklingError, match="Trusted"):
        load(path)
    with safe_globals([Trusted]):
        assert get_safe_globals() == [Trusted]
        assert load(path)["a"].value == 3
    assert get_safe_globals() == []
    add_safe_globals([Trusted])
    assert load(path)["a"].value == 3
    clear_safe_globals()
    with pytest.raises(pickle.UnpicklingError):
        load(path)


def test_places(tmp_path):
    path = tmp_path / "a.pt"
    save([tensor([1.0])], path)
    for place in (None, "cpu", device("cpu"), {"cpu": "cpu"}, lambda storage, location: storage):
        assert load(path, map_location=place)[0].tolist() == [1.0]
    with pytest.raises(RuntimeError, match="map_location"):
        load(path, map_location="cuda")


def test_torch_reads_ours(tmp_path):
    torch = pytest.importorskip("torch")
    kinds = [kind for kind in ALL if hasattr(torch, kind.name)]
    save({**content(), "tensors": {kind.name: ones(kind) for kind in kinds}}, tmp_path / "a.pt")
    found = torch.load(tmp_path / "a.pt", weights_only=True)
    assert found["numbers"] == content()["numbers"] and found["size"] == torch.Size((1, 2))
    for kind in kinds:
        assert torch.equal(found["tensors"][kind.name], torch.ones(3, dtype=getattr(torch, kind.name)))
    assert torch.load(tmp_path / "a.pt", weights_only=True, mmap=True)["text"] == "é"


@pytest.mark.parametrize("mmap", [False, True])
def test_we_read_torchs(tmp_path, mmap):
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(3, 2)
    base = torch.arange(6)
    made = {
        "state": model.state_dict(),
        "weight": model.weight,
        "view": base[::2],
        "base": base,
        "u16": torch.ones(2, dtype=torch.uint16),
        "size": torch.Size((1, 2)),
        "bytes": b"ab",
    }
    torch.save(made, tmp_path / "a.pt")
    found = load(tmp_path / "a.pt", mmap=mmap)
    np.testing.assert_array_equal(found["state"]["weight"]._array, model.weight.detach().numpy())
    assert found["state"]._metadata == model.state_dict()._metadata
    assert found["weight"].requires_grad and type(found["weight"]).__name__ == "Parameter"
    assert found["view"].tolist() == [0, 2, 4] and found["u16"].tolist() == [1, 1]
    assert found["bytes"] == b"ab" and found["size"] == Size((1, 2))


def test_weights_round_trip(tmp_path):
    made = {kind.name: ones(kind) for kind in ALL if kind.name != "complex128"}
    made["empty"], made["scalar"] = tensor([]), tensor(3)
    save_safetensors(made, tmp_path / "a.safetensors", {"format": "pt"})
    for mmap in (True, False):
        found = load_safetensors(tmp_path / "a.safetensors", mmap=mmap)
        assert found.keys() == made.keys()
        for name, value in made.items():
            assert found[name].dtype is value.dtype and found[name].tolist() == value.tolist()
    assert read_metadata(tmp_path / "a.safetensors") == {"format": "pt"}
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


GOOD = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def lie(**changes):
    return {"a": {**GOOD["a"], **changes}}


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        (lie(shape=[3]), 8, "takes 12 bytes"),
        (lie(shape=[2**40, 2**40]), 8, "takes"),
        (lie(shape=[-2]), 8, "non-negative"),
        (lie(shape=[True, 2]), 8, "non-negative"),
        (lie(data_offsets=[0, 800]), 8, "outside"),
        (lie(data_offsets=[8, 0]), 8, "outside"),
        (lie(dtype="Q3"), 8, "does not have"),
        (lie(), 4, "outside"),
        (lie(), 12, "belong to no tensor"),
        ({"a": 3}, 8, "needs dtype"),
        ([], 8, "not a JSON object"),
        ({**GOOD, "b": GOOD["a"]}, 8, "overlap"),
        ({"a": {**GOOD["a"], "data_offsets": [4, 12]}}, 12, "hole"),
        ({**GOOD, "__metadata__": {"a": 1}}, 8, "text to text"),
        ({"a": {"dtype": "BOOL", "shape": [8], "data_offsets": [0, 8]}}, 8, "0 or 1"),
    ],
)
def test_lying_headers(tmp_path, header, data, message):
    text = json.dumps(header).encode()
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(text)) + text + b"\x02" * data)
    with pytest.raises(ValueError, match=message):
        load_safetensors(tmp_path / "a")


@pytest.mark.parametrize(
    "data",
    [b"", b"123", struct.pack("<Q", 2**63), struct.pack("<Q", 100), struct.pack("<Q", 3) + b"{]}",
     struct.pack("<Q", 15) + b'{"a":1, "a": 2}', struct.pack("<Q", 100_000) + b"[" * 100_000],
    ids=["empty", "short", "huge", "past the end", "not JSON", "twice", "deep"],
)  # fmt: skip
def test_damaged_headers(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ValueError):
        load_safetensors(tmp_path / "a")


def test_agrees_with_the_safetensors_package(tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([True, False])}
    package.save_file(arrays, tmp_path / "theirs")
    for name, found in load_safetensors(tmp_path / "theirs").items():
        np.testing.assert_array_equal(found._array, arrays[name])
    save_safetensors({name: from_numpy(array) for name, array in arrays.items()}, tmp_path / "ours")
    for name, found in package.load_file(tmp_path / "ours").items():
        np.testing.assert_array_equal(found, arrays[name])


# Files from before PyTorch 1.6, and pickles that ask for more than they hold


def legacy(value):
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def old_content(torch):
    base = torch.arange(10.0)
    return {
        "views": [base, base[2:5], torch.arange(6).reshape(2, 3).t()],
        "kinds": [torch.ones(3).to(kind) for kind in (torch.bool, torch.bfloat16, torch.int8, torch.complex64, torch.float64)],
        "empty": torch.ones(0, 2),
        "weight": torch.nn.Parameter(torch.ones(2)),
        "names": ("a", 1),
    }


def test_files_from_before_zip_archives(tmp_path):
    torch = pytest.importorskip("torch")
    wanted = old_content(torch)
    path = tmp_path / "old.pth"
    path.write_bytes(legacy(wanted))
    for found in (load(path), load(str(path)), load(io.BytesIO(path.read_bytes()))):
        for mine, theirs in zip(found["views"], wanted["views"]):
            np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
            assert mine.stride() == theirs.stride() and mine.storage_offset() == theirs.storage_offset()
        for mine, theirs in zip(found["kinds"], wanted["kinds"]):
            assert mine.tolist() == theirs.tolist() and str(mine.dtype) == str(theirs.dtype)
        found["views"][0][3] = 50.0
        assert found["views"][1][1] == 50.0
        assert tuple(found["empty"].shape) == (0, 2) and found["names"] == ("a", 1)
        assert type(found["weight"]).__name__ == "Parameter"
    with pytest.raises(RuntimeError, match="mmap"):
        load(path, mmap=True)
    with pytest.raises(RuntimeError, match="map_location"):
        load(path, map_location="cuda")


def test_old_files_cut_short_or_changed():
    torch = pytest.importorskip("torch")
    data = legacy(old_content(torch))
    for cut in range(20, len(data), len(data) // 40):
        with pytest.raises((RuntimeError, pickle.UnpicklingError)):
            load(io.BytesIO(data[:cut]))
    choose = np.random.default_rng(0)
    for _ in range(60):
        changed = bytearray(data)
        changed[choose.integers(20, len(data))] ^= 1 << int(choose.integers(8))
        try:
            load(io.BytesIO(bytes(changed)))  # a changed number is a number
        except (RuntimeError, pickle.UnpicklingError):
            pass


def test_old_files_run_nothing(tmp_path):
    mark = tmp_path / "ran"
    data = legacy({"a": _Runs(str(mark))})
    with pytest.raises(pickle.UnpicklingError, match="not an allowed global"):
        load(io.BytesIO(data))
    assert not mark.exists()


class _Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


NESTED = b")" + b"2\x86" * 60  # a tuple of twice itself, and so on: 2**60 leaves


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\0\0\0\0\x20\x85R.",
        b"\x80\x02}" + NESTED + b"K\1s.",
        b"\x80\x02cbuiltins\nset\n](" + NESTED + b"e\x85R.",
        b"\x80\x02ccollections\nOrderedDict\n](" + NESTED + b"K\1\x86e\x85R.",
        b"\x80\x02" + NESTED + b")R.",
        b"\x80\x02" + NESTED + b"Q.",
        b"\x80\x02X\0\0\1\0" + b"a" * 65536 + b"q\0](" + b"ccollections\nCounter\nh\0\x85R" * 3000 + b"e.",
    ],
    ids="bytes key set order call identity copies".split(),
)
def test_pickles_that_ask_for_more_than_they_hold(tmp_path, pickled):
    with pytest.raises(pickle.UnpicklingError):
        load(archive(tmp_path / "a.pt", pickled))


def test_every_damaged_archive_is_a_clear_error(tmp_path):
    path = tmp_path / "a.pt"
    save({"x": tensor([1.0] * 50), "y": tensor([1, 2, 3])}, path)
    data, choose = path.read_bytes(), np.random.default_rng(1)
    for _ in range(150):
        changed = bytearray(data)
        for place in choose.integers(0, len(data), 3):
            changed[place] = choose.integers(256)
        try:
            load(io.BytesIO(bytes(changed)))
        except (RuntimeError, pickle.UnpicklingError):
            pass
