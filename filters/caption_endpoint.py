"""Caption endpoint: captions by a model behind an OpenAI-compatible server, such as vLLM. Loads no model, judges none.

A picture goes as a data URL to ``BASE_URL/chat/completions``, at temperature 0 with a seed; how far the same request
gives the same words is up to the server. A request that fails in the end is a row with its reason.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from dataclasses import replace
from typing import Any

from curate import Image, scores
from curate.image.codec import DecodeError, decode, encode, to_pil

AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}
"""HTTP statuses after which the same request may succeed."""
REFUSED = {401, 403, 404}
"""Those that every request would get."""
TYPES = {"jpg": "jpeg"}
LONGEST = 60.0
"""Seconds that a wait between attempts may take at most, whatever the server's Retry-After."""


@scores("image", caption=str, finish=str, error=str, data=True, batch=256, version=1)
class CaptionEndpoint:
    """``caption``; ``finish``: "stop", or "length" where it was cut; ``error``: why there is no caption.

    Raises:
        ValueError: the server refuses every request of a batch: wrong key, address or model.
        ConnectionError: it cannot be reached by any; the shard is tried again.

    Args:
        base_url: such as ``http://127.0.0.1:8000/v1``; ``$NAME`` is read from the environment.
        model: as the server calls it.
        prompt: what is asked about each picture.
        side: the long side in pixels to which larger pictures are reduced, as JPEG; 0 sends the stored bytes.
        max_tokens: of the answer.
        seed: for the server.
        key: the environment variable that holds the API key, if the server wants one.
        concurrency: requests at a time.
        retries: further attempts after timeouts, lost connections, unreadable answers, and statuses such as 429, 503.
        backoff: seconds before the second attempt; doubled before each further one.
        timeout: seconds that an attempt may take.
    """

    apart = ("base_url", "key", "concurrency", "retries", "backoff", "timeout")
    """Who is asked and how often; what is answered depends on the rest."""

    def __init__(
        self,
        base_url: str,
        model: str,
        prompt: str = "Describe this image in one sentence.",
        side: int = 0,
        max_tokens: int = 128,
        seed: int = 0,
        key: str = "",
        concurrency: int = 32,
        retries: int = 4,
        backoff: float = 1.0,
        timeout: float = 120.0,
    ) -> None:
        self.url = f"{(variable(base_url[1:]) if base_url.startswith('$') else base_url).rstrip('/')}/chat/completions"
        self.headers = {"Authorization": f"Bearer {variable(key)}"} if key else {}
        self.request = {"model": model, "max_tokens": max_tokens, "temperature": 0, "seed": seed}
        self.prompt, self.side, self.concurrency = prompt, side, concurrency
        self.waits = [min(backoff * 2**attempt, LONGEST) for attempt in range(retries)]
        self.timeout = timeout

    def prepare(self, image: Image) -> Image:
        """The picture as it is sent, in the decoding threads; without data where it cannot be decoded."""
        if not self.side or image.data is None:
            return image
        try:
            picture = to_pil(decode(image.data, self.side))
        except DecodeError:
            return replace(image, data=None)
        picture.thumbnail((self.side, self.side))
        import numpy as np

        return replace(image, data=encode(np.asarray(picture)), format="jpg")

    def __call__(self, images: list[Image]) -> list[dict[str, str | None]]:
        """A row for each picture."""
        rows = asyncio.run(self.ask_all(images))
        errors = [row["error"] or "" for row in rows]
        if all(error.partition(":")[0] in map(str, REFUSED) for error in errors):
            raise ValueError(f"{self.url} refuses every request: {errors[0]}")
        if all(error.startswith("connect") for error in errors):
            raise ConnectionError(f"{self.url} cannot be reached: {errors[0]}")
        return rows

    async def ask_all(self, images: list[Image]) -> list[dict[str, str | None]]:
        """The rows, so many requests at a time."""
        import aiohttp

        free = asyncio.Semaphore(self.concurrency)
        timeout = aiohttp.ClientTimeout(total=self.timeout)
        async with aiohttp.ClientSession(timeout=timeout, headers=self.headers) as session:

            async def one(image: Image) -> dict[str, str | None]:
                async with free:
                    return await self.ask(session, image)

            return await asyncio.gather(*map(one, images))

    async def ask(self, session: Any, image: Image) -> dict[str, str | None]:
        """The row of one picture, after as many attempts as it takes or may have."""
        if image.data is None:
            return failed("decode")
        address = f"data:image/{TYPES.get(image.format, image.format)};base64,{base64.b64encode(image.data).decode()}"
        content = [{"type": "image_url", "image_url": {"url": address}}, {"type": "text", "text": self.prompt}]
        body = {**self.request, "messages": [{"role": "user", "content": content}]}
        for wait in [*self.waits, None]:
            row, again, told = await attempt(session, self.url, body)
            if not again or wait is None:
                break
            await asyncio.sleep(min(max(wait, told), LONGEST))
        return row


async def attempt(session: Any, url: str, body: Any) -> tuple[dict[str, str | None], bool, float]:
    """A row, whether another attempt makes sense, and the seconds that the server wants to be left alone."""
    import aiohttp

    try:
        async with session.post(url, json=body, allow_redirects=False) as response:
            answer = await response.read()
            if response.status != 200:
                later = response.headers.get("Retry-After", "")
                reason = f"{response.status}: {' '.join(answer.decode(errors='replace').split())[:200]}"
                return failed(reason), response.status in AGAIN, float(later) if later.isdecimal() else 0.0
    except TimeoutError:
        return failed("timeout"), True, 0.0
    except aiohttp.ClientConnectorError as error:
        return failed(f"connect: {error}"), True, 0.0
    except aiohttp.ClientError as error:
        return failed(f"broken: {type(error).__name__}"), True, 0.0
    try:
        choice = json.loads(answer)["choices"][0]
        caption, finish = choice["message"]["content"], choice.get("finish_reason")
        text = " ".join((caption or "").split())
    except (ValueError, LookupError, TypeError, AttributeError):
        return failed(f"malformed: {answer[:100]!r}"), True, 0.0
    return ({"caption": text, "finish": finish, "error": None} if text else failed("empty")), False, 0.0


def failed(reason: str) -> dict[str, str | None]:
    """The row of a picture without a caption."""
    return {"caption": None, "finish": None, "error": reason}


def variable(name: str) -> str:
    """An environment variable; ValueError where it is not set."""
    if not (value := os.environ.get(name)):
        raise ValueError(f"the environment variable {name} is not set")
    return value
