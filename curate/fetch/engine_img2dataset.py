"""img2dataset as the downloader: the contract of ``curate.fetch.download``, kept by checking all that comes back.

Needs the extra ``img2dataset``. It runs in an interpreter of its own, because it replaces file descriptors 1 and 2 of
its whole process and returns success where shards are missing. What it cannot do: it has no deadline, no limit on
bytes, no back-off and no limit per host, and it follows redirects without looking where they lead; the first address
of every URL is vetted here, later ones are not.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.fetch.download import status_of, vet
from curate.fetch.response import Fetched, Request, examine
from curate.recipe.input import Fetch
from curate.status import Status

_RUN = "import json, sys; from img2dataset import download; download(**json.load(sys.stdin))"

# What img2dataset writes as error_message, and what that means; the first that is found counts.
_MEANING = (
    ("X-Robots-Tag", Status.XROBOTS_OPTOUT),
    ("unknown url type", Status.BLOCKED_SCHEME),
    ("control characters", Status.BLOCKED_SCHEME),
    ("CERTIFICATE", Status.TLS),
    ("SSL", Status.TLS),
    ("IncompleteRead", Status.TRUNCATED_BODY),
    ("timed out", Status.TIMEOUT_TOTAL),
    ("[Errno -", Status.DNS),  # negative numbers are those of getaddrinfo
    ("image too small", Status.SIZE_REJECTED),
    ("image area too large", Status.SIZE_REJECTED),
    ("aspect ratio too large", Status.SIZE_REJECTED),
)


def download_with_img2dataset(
    requests: Iterable[Request], settings: Fetch, on_done: Callable[[Fetched], None], scratch: Path
) -> None:
    """Asks for every request through img2dataset and calls ``on_done`` once for each.

    ``scratch`` is an empty or missing folder for its shard; it is left to the caller to remove. All requests make one
    shard, so this is to be called for as many as fit on that disk. ``http`` and ``attempts`` are not known.

    Raises:
        RuntimeError: img2dataset is missing, failed, or its result does not account for every row.
        ValueError: md5 is to be verified of resized pictures, whose sha256 img2dataset then does not compute.
    """
    if importlib.util.find_spec("img2dataset") is None:
        raise RuntimeError("engine img2dataset is not installed: pip install 'curate-interleaved[img2dataset]'")
    if settings.verify == "md5" and settings.resize:
        raise ValueError("engine img2dataset cannot verify md5 and resize at once: use sha256 or engine curate")
    asked = list(requests)
    vetted = vet([request.url for request in asked], settings)
    rows: list[tuple[Request, str]] = []
    for request in asked:
        answer = vetted[request.url]
        if isinstance(answer, Fetched):
            on_done(answer)
        else:
            rows.append((request, str(answer)))
    if not rows:
        return
    scratch.mkdir(parents=True, exist_ok=True)
    output = _run([url for _, url in rows], settings, scratch)
    answers = _read(output, len(rows))
    by_key = {str(row["key"]): at for at, row in answers.items()}
    for key, body in _pictures(output / "00000.tar"):
        on_done(_result(*rows[by_key[key]], answers.pop(by_key[key]), body, settings))
    for at, failed in answers.items():
        on_done(_result(*rows[at], failed, None, settings))


def _run(urls: list[str], settings: Fetch, scratch: Path) -> Path:
    """The folder with img2dataset's one shard."""
    listed, output = scratch / "urls.parquet", scratch / "shard"
    pq.write_table(pa.table({"url": urls, "row": list(range(len(urls)))}), listed)
    environment = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled"}
    environment = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
    options = json.dumps(_options(settings, listed, output, len(urls)))
    limit = 300 + len(urls) * settings.timeout * (settings.retries + 1)  # it has no deadline of its own
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and our own words
            [sys.executable, "-c", _RUN],
            input=options, env=environment, capture_output=True, text=True, errors="replace", timeout=limit,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"img2dataset did not end within {limit:.0f} s") from None
    if done.returncode:
        raise RuntimeError(f"img2dataset failed ({done.returncode}): {(done.stderr or done.stdout)[-2000:]}")
    if not (output / "00000_stats.json").exists():
        raise RuntimeError(f"img2dataset wrote no shard: {(done.stdout + done.stderr)[-2000:]}")
    return output


def _options(settings: Fetch, listed: Path, output: Path, count: int) -> dict[str, Any]:
    options: dict[str, Any] = {
        "url_list": str(listed),
        "output_folder": str(output),
        "input_format": "parquet",
        "output_format": "webdataset",
        "save_additional_columns": ["row"],
        "number_sample_per_shard": max(10, count),
        "processes_count": 1,
        "thread_count": settings.concurrency,
        "timeout": settings.timeout,
        "retries": settings.retries,
        "user_agent_token": settings.product,
        "disallowed_header_directives": list(settings.opt_out),
        "extract_exif": False,
        "enable_wandb": False,
        "compute_hash": "sha256",
    }
    how = settings.resize
    if how is None:
        return options | {"disable_all_reencoding": True}
    return options | {
        "image_size": how.size,
        "resize_mode": how.mode,
        "resize_only_if_bigger": how.only_if_bigger,
        "min_image_size": how.min_side,
        "max_image_area": min(how.max_area, settings.max_pixels),
        "max_aspect_ratio": how.max_aspect,
        "encode_format": how.format,
        "encode_quality": how.quality,
        "skip_reencode": how.skip_reencode,
    }


def _read(output: Path, count: int) -> dict[int, Mapping[str, Any]]:
    """The answers by row; raises RuntimeError unless statistics, list and pictures add up."""
    try:
        stats = json.loads((output / "00000_stats.json").read_bytes())
        table = pq.read_table(output / "00000.parquet")
        with tarfile.open(output / "00000.tar", "r:") as tar:
            stored = sorted(member.name.partition(".")[0] for member in tar if _is_picture(member))
    except (OSError, ValueError, pa.ArrowException, tarfile.TarError) as error:
        raise RuntimeError(f"img2dataset's shard cannot be read: {error}") from error
    answers = {row["row"]: row for row in table.to_pylist()}
    succeeded = sorted(row["key"] for row in answers.values() if row["status"] == "success")
    found = (stats["count"], table.num_rows, sorted(answers), stats["successes"], stored)
    if found != (count, count, list(range(count)), len(succeeded), succeeded):
        raise RuntimeError(
            f"img2dataset's shard does not add up: {count} rows asked, {stats['count']} counted, {table.num_rows} "
            f"listed, {stats['successes']} successes, {len(succeeded)} listed as such, {len(stored)} stored"
        )
    return answers


def _is_picture(member: tarfile.TarInfo) -> bool:
    return member.isreg() and not member.name.endswith(".json")


def _pictures(path: Path) -> Iterator[tuple[str, bytes]]:
    """Key and bytes of each stored picture, one at a time."""
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            if _is_picture(member) and (file := tar.extractfile(member)) is not None:
                yield member.name.partition(".")[0], file.read()


def _result(request: Request, url: str, row: Mapping[str, Any], body: bytes | None, settings: Fetch) -> Fetched:
    answer = Fetched(request.url, Status.OK, final_url=url)
    if body is None:
        detail = str(row["error_message"])
        return replace(answer, status=_status(str(row["status"]), detail), detail=detail[:500])
    if settings.resize is None:
        if len(body) > settings.max_bytes:
            return replace(answer, status=Status.TOO_LARGE, detail=f"body > {settings.max_bytes} bytes")
        return examine(answer, body, request.digest, settings)
    stored = examine(answer, body, None, settings.model_copy(update={"resize": None}))
    shape = {"original_width": row["original_width"], "original_height": row["original_height"]}
    stored = replace(stored, sha256=str(row["sha256"]), **shape)
    if settings.verify and request.digest and request.digest.strip().lower() != stored.sha256:
        detail = f"sha256 is not {request.digest[:64]}"
        return replace(stored, status=Status.HASH_MISMATCH, detail=detail, data=None, format="", width=0, height=0)
    return stored


def _status(kind: str, message: str) -> Status:
    """The status for one of img2dataset's failures."""
    if code := re.match(r"HTTP Error (\d{3})", message):
        return status_of(int(code[1]))
    known = next((status for part, status in _MEANING if part in message), None)
    return known or (Status.DECODE_ERROR if kind == "failed_to_resize" else Status.CONNECT)
