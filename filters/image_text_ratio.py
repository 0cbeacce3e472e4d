"""Image-text ratio: how many pictures and words a document has, and how many of the ones for each of the others.

OmniCorpus (Li et al. 2024) asks for 50 words a picture where there are more than two pictures.
"""

from curate import Document, scores


@scores(
    "document", images=int, texts=int, words=int, words_per_image=float, images_per_text=float, batch=1024, version=1
)
def image_text_ratio(documents: list[Document]) -> list[dict[str, float | None]]:
    """Pictures that were fetched, texts that have words, and words (split at white space); no ratio to nothing."""
    return [_counts(document) for document in documents]


def _counts(document: Document) -> dict[str, float | None]:
    images = sum(not image.error for image in document.images.values())
    lengths = [length for text in document.texts.values() if (length := len(text.text.split()))]
    words, texts = sum(lengths), len(lengths)
    return {
        "images": images,
        "texts": texts,
        "words": words,
        "words_per_image": words / images if images else None,
        "images_per_text": images / texts if texts else None,
    }
