"""MinHash of single texts: ``filters/minhash.py`` for near-duplicate paragraphs and captions. Groups nothing."""

from curate import Text, scores
from curate.filters.minhash import signatures


@scores("text", signature=bytes, batch=1024, requires=("rensa",), version=1)
def minhash_text(
    texts: list[Text], ngram: int = 5, num_perm: int = 128, seed: int = 1, unit: str = "word"
) -> list[dict[str, bytes] | None]:
    """As ``minhash``, for each text by itself."""
    return signatures([text.text for text in texts], ngram, num_perm, seed, unit)
