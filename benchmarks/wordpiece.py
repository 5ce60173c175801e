"""BERT's tokenizer: lower-cased words split into the longest pieces that the vocabulary has."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

PAD, UNKNOWN, CLASSIFY, SEPARATE = "[PAD]", "[UNK]", "[CLS]", "[SEP]"


class WordPiece:
    """Sentences to token numbers, by the words of a vocabulary file, one a line."""

    def __init__(self, vocabulary: Path):
        self.numbers = {
            word: index for index, word in enumerate(vocabulary.read_text(encoding="utf-8").splitlines())
        }

    def encode(self, sentence: str, limit: int = 256) -> list[int]:
        """The numbers of a sentence's tokens between the two marks, `limit` at most."""
        tokens = [piece for word in words(sentence) for piece in self.pieces(word)]
        marked = [CLASSIFY, *tokens[: limit - 2], SEPARATE]
        return [self.numbers[token] for token in marked]

    def pieces(self, word: str) -> list[str]:
        """The longest pieces from the left; the unknown mark if some part has none."""
        found, start = [], 0
        if len(word) > 100:
            return [UNKNOWN]
        while start < len(word):
            end = len(word)
            while end > start:
                piece = ("##" if start else "") + word[start:end]
                if piece in self.numbers:
                    break
                end -= 1
            else:
                return [UNKNOWN]
            found.append(piece)
            start = end
        return found

    def batch(self, sentences: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens padded to the longest sentence, and the mask that is 1 on tokens."""
        rows = [self.encode(sentence) for sentence in sentences]
        tokens = np.full((len(rows), max(map(len, rows))), self.numbers[PAD], np.int64)
        mask = np.zeros_like(tokens)
        for index, row in enumerate(rows):
            tokens[index, : len(row)] = row
            mask[index, : len(row)] = 1
        return tokens, mask


def words(text: str) -> Iterator[str]:
    """Lower-cased words without accents; punctuation and Chinese characters are words of their own."""
    word = ""
    for char in unicodedata.normalize("NFD", text.lower()):
        category = unicodedata.category(char)
        if category == "Mn" or char in "\0\ufffd" or (category.startswith("C") and not char.isspace()):
            continue
        if char.isspace():
            if word:
                yield word
            word = ""
        elif _alone(char, category):
            if word:
                yield word
            word = ""
            yield char
        else:
            word += char
    if word:
        yield word


def _alone(char: str, category: str) -> bool:
    point = ord(char)
    symbol = 33 <= point <= 47 or 58 <= point <= 64 or 91 <= point <= 96 or 123 <= point <= 126
    return symbol or category.startswith("P") or 0x4E00 <= point <= 0x9FFF or 0x3400 <= point <= 0x4DBF
