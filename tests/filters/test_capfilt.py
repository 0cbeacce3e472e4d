import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from curate import Image, Text
from curate.demo import planted, world
from curate.filters import _sampling
from curate.filters._blip import matching, pre_caption
from curate.filters.capfilt import CapFilt
from curate.filters.caption import Caption
from curate.filters.itm import Itm

SIDE = 32
WORDS = [
    "a",
    "picture",
    "of",
    "red",
    "green",
    "blue",
    "small",
    "large",
    "car",
    "bird",
    "house",
    "on",
    "in",
    "the",
    "two",
]
TEXTS = ["a red car", "the Small bird, in a tree!", "house " * 60, "two"]
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tokenizer(begins=("[DEC]", "[ENC]")):
    from transformers import BertTokenizer

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", *WORDS, *begins]
    return BertTokenizer(vocab={token: at for at, token in enumerate(tokens)}, extra_special_tokens=list(begins))


def blip(folder, kind, seed=0, ends=True, begins=("[DEC]", "[ENC]"), **image):
    """A BLIP with random weights, large enough for its answers to differ."""
    import transformers

    words, size = tokenizer(begins), len(tokenizer())
    begin, end = size - 2, words.sep_token_id
    text = VISION | {"vocab_size": size, "encoder_hidden_size": 32, "max_position_embeddings": 64}
    text |= {"bos_token_id": begin, "eos_token_id": end, "sep_token_id": end, "pad_token_id": words.pad_token_id}
    shape = {"image_size": SIDE, "patch_size": 16, "initializer_range": 0.02}
    config = transformers.BlipConfig(
        text_config=text, vision_config=VISION | shape, projection_dim=16, image_text_hidden_size=16
    )
    torch.manual_seed(seed)
    model = getattr(transformers, kind)(config).eval()
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and "norm" not in name.lower():
            nn.init.normal_(weight, std=0.5)
    if not ends:
        model.text_decoder.cls.predictions.bias.data[end] = -1e4
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    processor = transformers.BlipImageProcessor(**{"size": size, **image})
    transformers.BlipProcessor(processor, words).save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioner")
    return blip(folder, "BlipForConditionalGeneration"), str(folder)


@pytest.fixture(scope="module")
def matcher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matcher")
    return blip(folder, "BlipForImageTextRetrieval", seed=1), str(folder)


@pytest.fixture(scope="module")
def capfilt(captioner, matcher):
    return CapFilt(captioner[1], matcher[1], precision="fp32")


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 56, 3), np.uint8)
    return Image("u", pixels=pixels, sha256=hashlib.sha256(pixels).hexdigest())


def pairs(scorer, count, texts=TEXTS):
    """Pictures with a text each, prepared."""
    return [(scorer.prepare(picture(seed)), Text(texts[seed % len(texts)])) for seed in range(count)]


def column(rows, name):
    return [row[name] for row in rows]


# --- pieces


@pytest.mark.parametrize(
    ("logits", "probability", "keep"),
    [
        ((0, 0), 0.5, True),
        ((1, -1), 0.1192, False),
        ((-1, 1), 0.8808, True),
        ((0, 0.01), 0.5025, True),
        ((0, -0.01), 0.4975, False),
    ],
)
def test_the_keep_matrix(logits, probability, keep):
    (found,) = matching(torch.tensor([logits], dtype=torch.float32))
    assert found == pytest.approx(probability, abs=5e-5)
    assert (np.float32(found) >= 0.5) == keep


def test_a_probability_that_is_no_number_is_null():
    assert matching(torch.tensor([[float("nan"), 0.0]])) == [None]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ('A "Red" Car!! (2019): fast.\n', "a red car 2019 fast"),
        ("well-known, isn't it?", "well-known, isn't it?"),
        ("#cat *and* ~dog; x", "cat and dog x"),
        (" ".join(map(str, range(60))), " ".join(map(str, range(50)))),
        ("!!!", ""),
    ],
)
def test_pre_caption(text, cleaned):
    assert pre_caption(text) == cleaned


def splitmix(state):
    """Steele et al. 2014, in Python's integers."""
    full = 2**64 - 1
    state = ((state ^ (state & full) >> 30) * 0xBF58476D1CE4E5B9) & full
    state = ((state ^ state >> 27) * 0x94D049BB133111EB) & full
    return state ^ state >> 31


def test_noise_is_splitmix_and_gumbel():
    keys = [_sampling.key_of("ab", 0), -1, 2**63 - 1]
    found = _sampling.gumbel(torch.tensor(keys), 3, 5)
    golden, full = 0x9E3779B97F4A7C15, 2**64 - 1
    for row, key in enumerate(keys):
        step = splitmix((key + 3 * golden) & full)
        for token in range(5):
            uniform = ((splitmix((step + (token + 1) * golden) & full) >> 11) + 0.5) / 2**53
            assert float(found[row, token]) == pytest.approx(-np.log(-np.log(uniform)), rel=1e-12)


def test_tokens_are_drawn_as_often_as_they_are_probable():
    wanted = np.array([0.4, 0.3, 0.2, 0.06, 0.04])
    keys = [_sampling.key_of(str(n), 0) for n in range(20_000)]
    scores = torch.tensor(np.log(wanted)).expand(len(keys), -1)
    drawn = _sampling.Nucleus(keys, top_p=0.85)(torch.zeros(len(keys), 4), scores).argmax(dim=1)
    share = np.bincount(drawn.numpy(), minlength=5) / len(keys)
    assert share == pytest.approx([4 / 9, 3 / 9, 2 / 9, 0, 0], abs=0.015)


def test_the_nucleus_is_that_of_transformers():
    from transformers import TopPLogitsWarper

    logits = torch.randn(50, 200, generator=torch.Generator().manual_seed(0)) * 3
    for top_p in (0.05, 0.5, 0.9, 0.99):
        expected = TopPLogitsWarper(top_p)(None, logits).isfinite()
        assert torch.equal(_sampling.kept(logits, top_p, 0).isfinite(), expected)
    assert _sampling.kept(logits, 1.0, 7).isfinite().sum(dim=1).tolist() == [7] * 50


# --- capfilt


def direct(model, folder, image, text, first=None):
    """ITM by the model's own forward, on the processor's own tensors."""
    from transformers import BlipProcessor

    processor = BlipProcessor.from_pretrained(folder)
    inputs = processor(
        images=image.pixels, text=pre_caption(text), return_tensors="pt", truncation=True, max_length=35,
        padding="max_length",
    )  # fmt: skip
    if first:
        inputs["input_ids"][:, 0] = processor.tokenizer.convert_tokens_to_ids(first)
    with torch.inference_mode():
        return float(model(**inputs, use_itm_head=True).itm_score.softmax(dim=1)[0, 1])


def test_itm_is_the_model_itself(capfilt, matcher):
    rows = capfilt(pairs(capfilt, 8))
    expected = [direct(*matcher, picture(seed), TEXTS[seed % 4]) for seed in range(8)]
    assert column(rows, "itm") == pytest.approx(expected, abs=1e-4)
    assert column(rows, "text_itm") == column(rows, "itm")
    assert np.ptp(expected) > 0.1
    found = {seed: row["caption_itm"] for seed, row in enumerate(rows) if row["caption"]}
    assert found == pytest.approx(
        {seed: direct(*matcher, picture(seed), rows[seed]["caption"]) for seed in found}, abs=1e-4
    )
    assert len(found) >= 6


def test_texts_may_begin_with_enc(captioner, matcher):
    scorer = CapFilt(captioner[1], matcher[1], enc_token=True)
    rows = scorer(pairs(scorer, 4))
    expected = [direct(*matcher, picture(seed), TEXTS[seed], "[ENC]") for seed in range(4)]
    assert column(rows, "itm") == pytest.approx(expected, abs=1e-4)
    assert expected != pytest.approx([direct(*matcher, picture(seed), TEXTS[seed]) for seed in range(4)], abs=1e-3)


def test_vocabularies_without_dec_and_enc_as_salesforces(capfilt, tmp_path):
    for folder, kind, seed in (("c", "BlipForConditionalGeneration", 0), ("m", "BlipForImageTextRetrieval", 1)):
        blip(tmp_path / folder, kind, seed, begins=())
    scorer = CapFilt(str(tmp_path / "c"), str(tmp_path / "m"), enc_token=True)
    assert scorer.filter.first == tokenizer().convert_tokens_to_ids("[ENC]")
    assert column(scorer(pairs(scorer, 8)), "caption") == column(capfilt(pairs(capfilt, 8)), "caption")


def sampled(model, folder, image, seed=0, candidate=0, prompt="a picture of ", longest=20, shortest=5):
    """BLIP's sampling for one picture, a whole forward pass for each token."""
    from transformers import BlipProcessor

    processor = BlipProcessor.from_pretrained(folder)
    pixels = processor(images=image.pixels, return_tensors="pt").pixel_values
    ids = processor.tokenizer(prompt).input_ids[:-1]
    ids[0], end = model.config.text_config.bos_token_id, model.config.text_config.sep_token_id
    start, key = len(ids), torch.tensor([_sampling.key_of(image.sha256, seed, candidate)])
    with torch.inference_mode():
        seen = model.vision_model(pixel_values=pixels).last_hidden_state
        while len(ids) < longest and ids[-1] != end:
            logits = model.text_decoder(torch.tensor([ids]), encoder_hidden_states=seen).logits[0, -1].double()
            for token in set(ids):
                logits[token] *= 1.1 if logits[token] < 0 else 1 / 1.1
            if len(ids) < shortest:
                logits[end] = -torch.inf
            probable, total, nucleus = logits.softmax(dim=0).tolist(), 0.0, []
            for token in sorted(range(len(probable)), key=lambda token: -probable[token]):
                if total < 0.9:
                    nucleus.append(token)
                total += probable[token]
            noise = _sampling.gumbel(key, len(ids), len(logits))[0]
            ids.append(max(nucleus, key=lambda token: float(logits[token] + noise[token])))
    return " ".join(processor.tokenizer.decode(ids[start:], skip_special_tokens=True).split())


def test_captions_are_sampled_as_by_hand(capfilt, captioner):
    rows = capfilt(pairs(capfilt, 16))
    expected = [sampled(*captioner, picture(seed)) for seed in range(16)]
    assert [caption or "" for caption in column(rows, "caption")] == expected
    assert len(set(expected)) > 10
    assert len({len(caption.split()) for caption in expected}) > 2


@pytest.mark.parametrize("size", [1, 3, 16])
def test_captions_do_not_depend_on_the_batch(capfilt, size):
    ready = pairs(capfilt, 16)
    expected = capfilt(ready)
    order = np.random.default_rng(size).permutation(16).tolist()
    found = {}
    for start in range(0, 16, size):
        chosen = order[start : start + size]
        found |= dict(zip(chosen, capfilt([ready[at] for at in chosen]), strict=True))
    assert [found[at]["caption"] for at in range(16)] == column(expected, "caption")
    for name in ("itm", "caption_itm"):
        assert [found[at][name] for at in range(16)] == pytest.approx(column(expected, name), abs=1e-4)


def test_another_seed_gives_other_captions(capfilt, captioner, matcher):
    other = CapFilt(captioner[1], matcher[1], seed=1)
    assert column(other(pairs(other, 8)), "caption") != column(capfilt(pairs(capfilt, 8)), "caption")


def counted(model):
    """Counts the pictures that a model's image encoder sees."""
    seen = []
    model.vision_model.register_forward_hook(lambda *args: seen.append(len(args[-1].last_hidden_state)))
    return seen


def test_a_picture_is_encoded_once_for_all_its_texts(captioner, matcher):
    scorer = CapFilt(captioner[1], matcher[1])
    looks, judged = counted(scorer.captioner.net.model), counted(scorer.filter.net.model)
    first, second = scorer.prepare(picture(1)), scorer.prepare(picture(2))
    rows = scorer([(first, Text("a car")), (first, Text("a bird")), (second, Text("a car"))])
    rows += scorer([(second, Text("a tree")), (second, Text("a house"))])
    assert (looks, judged) == ([2], [2])
    assert rows[0]["caption"] == rows[1]["caption"] != rows[2]["caption"] == rows[3]["caption"] == rows[4]["caption"]
    assert len({row["itm"] for row in rows}) == 5
    assert rows[3] == pytest.approx(scorer([(second, Text("a tree"))])[0], abs=1e-5)


def test_a_text_of_punctuation_is_not_judged(capfilt):
    (row,) = capfilt([(capfilt.prepare(picture(0)), Text("!!!"))])
    assert (row["itm"], row["text_itm"]) == (None, None)
    assert row["caption_itm"] is not None


def test_length_and_prompt(tmp_path, matcher):
    blip(tmp_path, "BlipForConditionalGeneration", ends=False)
    scorer = CapFilt(str(tmp_path), matcher[1], max_length=9)
    captions = scorer.captioner.generated(
        scorer.captioner.states([picture(0).pixels.transpose(2, 0, 1)[:, :SIDE, :SIDE]]), **scorer.captioner.settings
    )
    assert captions.shape == (1, 5)  # of 9: [DEC] a picture of
    with pytest.raises(ValueError, match="max_length 4 leaves no room after the 4 tokens of the prompt"):
        CapFilt(str(tmp_path), matcher[1], max_length=4)


def test_captioner_and_filter_may_see_pictures_differently(captioner, tmp_path):
    blip(tmp_path, "BlipForImageTextRetrieval", image_mean=[0, 0, 0])
    first, second = CapFilt(captioner[1], str(tmp_path)).prepare(picture(0)).pixels
    assert first.shape == second.shape == (3, SIDE, SIDE)
    assert abs(first - second).max() > 0.1


def test_pictures_are_squeezed_bicubically(capfilt):
    (found,) = capfilt.prepare(picture(0)).pixels
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    pixels = torch.tensor(picture(0).pixels).permute(2, 0, 1)[None].float()
    square = nn.functional.interpolate(pixels, (SIDE, SIDE), mode="bicubic", antialias=True)[0].clamp(0, 255)
    assert abs(found - ((square / 255 - mean) / std).numpy()).mean() < 0.005  # half a grey level is 0.007


# --- loading


def test_a_checkpoint_of_another_class_is_refused(captioner, matcher, tmp_path):
    with pytest.raises(ValueError, match="holds a BlipForConditionalGeneration; wanted: BlipForImageTextRetrieval"):
        Itm(captioner[1])
    with pytest.raises(ValueError, match=r"holds a BlipForImageTextRetrieval; wanted: BlipForConditional.* or Blip2"):
        CapFilt(matcher[1], matcher[1])


def test_missing_weights_are_refused(matcher, tmp_path):
    from safetensors.torch import load_file, save_file

    blip(tmp_path, "BlipForImageTextRetrieval")
    state = load_file(tmp_path / "model.safetensors")
    del state["itm_head.weight"]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"is no whole BlipForImageTextRetrieval: .*itm_head.weight"):
        Itm(str(tmp_path))


def test_pickled_weights_are_tensors_only(tmp_path):
    model = blip(tmp_path, "BlipForImageTextRetrieval")
    before = Itm(str(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    after = Itm(str(tmp_path))
    assert after(pairs(after, 2)) == before(pairs(before, 2))
    torch.save({"itm_head.weight": Itm}, tmp_path / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"Weights only load failed|weights_only"):
        Itm(str(tmp_path))


def test_the_models_files_are_part_of_the_identity(captioner, matcher):
    names = {path.name for path in CapFilt.weights(captioner[1], matcher[1], seed=3)}
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} <= names
    assert Itm.weights("a/b", "0" * 40, precision="auto") == []
    with pytest.raises(ValueError, match="Salesforce/blip is no folder; for a model on the hub, pin its revision"):
        Itm.weights("Salesforce/blip")


# --- caption


def test_captions_of_a_picture_are_all_different(captioner):
    scorer = Caption(captioner[1], n=5)
    rows = scorer([scorer.prepare(picture(seed)) for seed in range(4)])
    for seed, row in enumerate(rows):
        drawn = [sampled(*captioner, picture(seed), candidate=k) for k in range(5)]
        assert row["captions"].split("\n") == [text for text in dict.fromkeys(drawn) if text]
        assert (row["sim"], row["sims"]) == (None, None)


def test_clip_ranks_captions_in_stages(captioner):
    drawn = Caption(captioner[1], n=6)
    scorer = Caption(captioner[1], n=6, rank=[("demo", "", 4), ("demo", "", 2)])
    rows = scorer([scorer.prepare(picture(seed)) for seed in range(3)])
    clip = scorer.rankers[0][0]
    for seed, row in enumerate(rows):
        (before,) = drawn([drawn.prepare(picture(seed))])
        captions = before["captions"].split("\n")
        (vector,) = clip.encode_image([clip.prepare(picture(seed))])
        sims = clip.encode_text([Text(caption) for caption in captions]) @ vector
        best = sorted(range(len(sims)), key=lambda at: -sims[at])[:2]
        assert row["captions"].split("\n") == [captions[at] for at in best]
        assert row["sims"] == pytest.approx([float(sims[at]) for at in best], abs=1e-5)
        assert (row["caption"], row["sim"]) == (captions[best[0]], row["sims"][0])


def test_the_demos_captioner_says_what_is_there():
    rng, scorer = np.random.default_rng(5), Caption()
    scenes = [world.random_scene(rng, 96) for _ in range(16)]
    images = [Image("u", pixels=world.draw(scene), sha256=str(at)) for at, scene in enumerate(scenes)]
    rows = scorer([scorer.prepare(image) for image in images])
    assert sum(planted.holds(row["caption"], scene) for row, scene in zip(rows, scenes, strict=True)) >= 13


@pytest.fixture(scope="module")
def blip2(tmp_path_factory):
    import transformers

    folder = tmp_path_factory.mktemp("blip2")
    words = tokenizer(("[DEC]", "[ENC]", "<image>"))
    shape = {"image_size": SIDE, "patch_size": 16}
    text = transformers.OPTConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, ffn_dim=32,
        word_embed_proj_dim=32, bos_token_id=2, eos_token_id=3, pad_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    qformer = {"vocab_size": 8, "encoder_hidden_size": 32, "cross_attention_frequency": 1}
    config = transformers.Blip2Config(
        vision_config=VISION | shape, qformer_config=VISION | qformer, text_config=text, num_query_tokens=3,
        image_token_index=len(words) - 1, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(2)
    model = transformers.Blip2ForConditionalGeneration(config).eval()
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and "norm" not in name.lower():
            nn.init.normal_(weight, std=0.5)
    model.save_pretrained(folder)
    processor = transformers.BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    transformers.Blip2Processor(processor, words, num_query_tokens=3).save_pretrained(folder)
    return model, str(folder)


def test_blip2_is_known_by_its_config(blip2):
    model, folder = blip2
    scorer = Caption(folder, n=2, prompt="a picture of", top_k=1, repetition_penalty=1.0)
    rows = scorer([scorer.prepare(picture(seed)) for seed in range(3)])
    said = []
    for seed in range(3):
        inputs = scorer.captioner.net.processor(images=picture(seed).pixels, text="a picture of", return_tensors="pt")
        ids = model.generate(**inputs, max_new_tokens=15, do_sample=False, num_beams=1)
        words = scorer.captioner.net.tokenizer.decode(ids[0][-15:], skip_special_tokens=True)
        said.append(" ".join(words.split()))
    assert column(rows, "captions") == column(rows, "caption") == said
    assert len(set(said)) > 1
