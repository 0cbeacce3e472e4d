"""COYO's measures of an alt text, after white space is collapsed. Removes no text, and does not look for duplicates.

Byeon et al. 2022 (github.com/kakaobrain/coyo-dataset): more than 5 and at most 1000 characters, 3 to 256 words, a noun,
no word of a list; English by cld3 (``use: language``).
"""

from pathlib import Path

from curate import Text, scores
from curate.filters._words import list_files, word_list, words


@scores("text", chars=int, words=int, has_noun=bool, flagged=int, batch=4096, version=1)
class CoyoText:
    """Characters and words of the collapsed text; whether it has a noun; how many of its words are flagged.

    Args:
        nouns: a file of nouns, one a line, such as the lemmas and plurals of WordNet; without one ``has_noun`` is null.
            Looking up a list takes "run" for a noun everywhere; COYO tagged the sentence.
        flagged: a word list: a file, or the name of one of ours (filters/word_lists). COYO used profanity_filter,
            better_profanity and google_twunter_lol; their lists can be given as a file.
    """

    def __init__(self, nouns: str = "", flagged: str = "flagged") -> None:
        self.nouns = word_list(nouns) if nouns else None
        self.flagged = word_list(flagged)

    @staticmethod
    def weights(nouns: str = "", flagged: str = "flagged") -> list[Path]:
        """The word lists."""
        return list_files([nouns, flagged])

    def __call__(self, texts: list[Text]) -> list[dict[str, int | bool | None]]:
        """A row for each text."""
        return [self.measure(" ".join(text.text.split())) for text in texts]

    def measure(self, text: str) -> dict[str, int | bool | None]:
        """All columns of a collapsed text."""
        said = words(text)
        return {
            "chars": len(text),
            "words": len(text.split()),
            "has_noun": None if self.nouns is None else not self.nouns.isdisjoint(said),
            "flagged": sum(word in self.flagged for word in said),
        }
