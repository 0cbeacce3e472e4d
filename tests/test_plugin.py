import pytest
from shards import page

from curate import Encoded, Text, Vector, scores
from curate.plugin import build, parameters, spec_of


@scores("text", words=int)
def words(texts, least=0):
    return [{"words": max(least, len(text.text.split()))} for text in texts]


class Model:
    built = 0

    def __init__(self, size: int = 3) -> None:
        Model.built += 1
        self.size = size

    def __call__(self, images):
        return [{"n": self.size} for _ in images]


def test_a_filter_of_three_lines_works_on_a_list():
    assert words([Text("a red bus"), Text("")]) == [{"words": 3}, {"words": 0}]


def test_the_declaration_says_what_it_looks_at_and_fills():
    spec = spec_of(words)
    assert (spec.view, spec.columns, spec.pixels, spec.data, spec.batch) == (
        "text",
        {"text": {"words": int}},
        None,
        False,
        64,
    )


@pytest.mark.parametrize(
    ("view", "kind"),
    [("text", "text"), ("image", "image"), ("pair", "image"), ("document", "document"), ("a.b", "image")],
)
def test_plain_columns_belong_to_what_the_view_shows(view, kind):
    assert list(spec_of(scores(view, n=int)(lambda items: items)).columns) == [kind]


def test_a_document_scorer_may_fill_all_kinds():
    spec = spec_of(scores("document", n=int, image={"sim": float, "e": Vector}, text={"t": str})(lambda items: items))
    assert spec.columns == {"document": {"n": int}, "image": {"sim": float, "e": Vector}, "text": {"t": str}}
    assert spec.per_document
    assert not spec_of(scores("document", n=int)(Model)).per_document


@pytest.mark.parametrize(
    ("view", "columns", "said"),
    [
        ("images", {"n": int}, "use document, image, text, pair or <score>.<column>"),
        ("a.b.c", {"n": int}, "view 'a.b.c'"),
        ("image", {"text": {"n": int}}, "only document scorers"),
        ("text", {}, "at least one column"),
        ("document", {"n": int, "image": {"n": int}}, "each name once"),
        ("text", {"n": complex}, "column 'n'"),
        ("text", {"n": "int"}, "is none of bool, int, float, str"),
    ],
)
def test_wrong_declarations_say_what_is_right(view, columns, said):
    with pytest.raises(TypeError, match=said):
        scores(view, **columns)


def test_what_is_not_declared_is_no_scorer():
    with pytest.raises(TypeError, match=r"'page' is no scorer: decorate it with @curate\.scores"):
        spec_of(page)


def test_parameters_come_with_their_defaults_and_without_the_batch():
    assert parameters(words, {}) == {"least": 0}
    assert parameters(Model, {"size": 5}) == {"size": 5}
    with pytest.raises(TypeError, match="more"):
        parameters(words, {"more": 1})


def test_a_function_is_called_with_its_parameters():
    assert build(words, {"least": 2})([Text("bus")]) == [{"words": 2}]


def test_a_class_is_built_once_for_all_its_batches():
    before, call = Model.built, build(Model, {"size": 7})
    assert [call([1, 2]), call([3])] == [[{"n": 7}, {"n": 7}], [{"n": 7}]]
    assert Model.built == before + 1


def test_an_encoded_document_carries_vectors_by_position():
    encoded = Encoded(page("a"), {}, {0: [1.0]})
    assert encoded.texts.keys() == encoded.document.texts.keys()
