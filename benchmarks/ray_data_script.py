"""URLs to CLIP-filtered tars with Ray Data alone: the script one writes without curate, the peer of whole_job.py.

    python benchmarks/ray_data_script.py MANIFEST OUT [--clip FOLDER] [--min 0.85]

Written as Ray Data's documentation suggests: read_parquet, a threaded download, an actor pool that holds the model,
a filter, write_webdataset. Failures of single rows are caught, as they would be after the first run that died of
one.
"""

import argparse
import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import ray
import requests
from PIL import Image


def download(batch):
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))

    def get(url):
        try:
            answer = session.get(url, timeout=10)
            answer.raise_for_status()
        except requests.RequestException:
            return None
        return answer.content

    with ThreadPoolExecutor(64) as pool:
        batch["jpg"] = np.array([*pool.map(get, batch["url"]), None], dtype=object)[:-1]
    return batch


class Clip:
    """The model; one for each actor."""

    def __init__(self, folder):
        import open_clip
        import torch

        self.torch, self.device = torch, "cuda" if torch.cuda.is_available() else "cpu"
        self.model, self.preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}", device=self.device)
        self.model.eval()
        self.tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")

    def picture(self, data):
        try:
            return self.preprocess(Image.open(io.BytesIO(data)).convert("RGB"))
        except (OSError, TypeError, SyntaxError):
            return None

    def __call__(self, batch):
        pictures = [self.picture(data) for data in batch["jpg"]]
        good = [at for at, picture in enumerate(pictures) if picture is not None]
        sims = np.full(len(pictures), np.nan, np.float32)
        if good:
            with self.torch.inference_mode():
                images = self.model.encode_image(
                    self.torch.stack([pictures[at] for at in good]).to(self.device), normalize=True
                )
                tokens = self.tokenize([batch["caption"][at] for at in good]).to(self.device)
                sims[good] = (images * self.model.encode_text(tokens, normalize=True)).sum(1).float().cpu().numpy()
        return {**batch, "similarity": sims}


def sample(row):
    key = row["url"].rsplit("/", 1)[1].removesuffix(".jpg")
    about = json.dumps({"url": row["url"], "similarity": float(row["similarity"])})
    return {"__key__": key, "jpg": row["jpg"], "txt": row["caption"].encode(), "json": about.encode()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("manifest")
    parser.add_argument("out")
    parser.add_argument("--clip", required=True)
    parser.add_argument("--min", type=float, default=0.85)
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=8)
    given = parser.parse_args()
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="warning")
    (
        ray.data.read_parquet(given.manifest)
        .repartition(given.blocks)
        .map_batches(download, batch_size=128)
        .map_batches(
            Clip, fn_constructor_args=[given.clip], batch_size=64, compute=ray.data.ActorPoolStrategy(size=given.actors)
        )
        .filter(lambda row: row["similarity"] >= given.min)
        .map(sample)
        .write_webdataset(given.out, encoder=None)  # the default one wants pixels and encodes every JPEG anew
    )
