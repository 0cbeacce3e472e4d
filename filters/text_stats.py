"""Text statistics: how long a text is and what it is made of."""

from curate import Text, scores


@scores("text", words=int, chars=int, letters=float, digits=float, upper=float, batch=4096, version=1)
def text_stats(texts: list[Text]) -> list[dict[str, float]]:
    """Words (split at white space) and characters; shares (0-1) of letters and digits, and of capitals in letters."""
    return [_stats(text.text) for text in texts]


def _stats(text: str) -> dict[str, float]:
    letters = sum(map(str.isalpha, text))
    shares = {
        "letters": letters / max(len(text), 1),
        "digits": sum(map(str.isdigit, text)) / max(len(text), 1),
        "upper": sum(map(str.isupper, text)) / max(letters, 1),
    }
    return {"words": len(text.split()), "chars": len(text), **shares}
