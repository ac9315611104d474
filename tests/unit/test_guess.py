"""Texts in the wrong language are noticed, and no text in the right one is."""

import pytest

from nightgate.transcription.clips.corpus import passages
from nightgate.transcription.guess import looks_unlike

TEXTS = {
    "de": "Es war einmal ein König, der hatte eine Tochter, und sie war schön. Ich weiß nicht, wie das auf Dauer gehen soll.",
    "fr": "Je ne sais pas ce que vous dites, mais il est dans la maison avec une amie qui nous attend depuis une heure.",
    "es": "No sé lo que dice el hombre, pero la casa de la esquina es más grande que el parque y los niños juegan en ella.",
    "it": "Non so che cosa dice il signore, ma la casa è più grande di quella che si vede in fondo alla strada con gli alberi.",
    "pt": "Eu não sei o que diz o homem, mas a casa da esquina é mais alta e os meninos brincam na rua com uma bola.",
    "nl": "Ik weet niet wat hij zegt, maar het huis op de hoek is groter dan een kerk en er zijn ook kinderen aan het spelen.",
    "en": "I do not know what the man says, but the house at the corner is larger and they have a garden with trees.",
}


@pytest.mark.parametrize("spoken", TEXTS)
@pytest.mark.parametrize("claimed", TEXTS)
def test_each_is_told_from_each(spoken, claimed):
    found = looks_unlike(claimed, TEXTS[spoken])
    if spoken == claimed:
        assert found is None
    else:
        assert found.endswith(f"({spoken})")


def test_the_letters_tell_other_scripts():
    for text in ("今天天气很好", "Добрый день", "हिन्दी में"):
        assert looks_unlike("en", text) == "are not written in Latin letters"
        assert looks_unlike("zh", text) is None
    assert looks_unlike("en", "ab да") is None
    assert looks_unlike("en", "a да") == "are not written in Latin letters"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "123",
        "zero one two three four five six seven eight nine ten eleven twelve",
        "go left go right stop yes no up down on off marvin sheila happy house",
        "der die das und",
        "der und ist nicht ich zu dem ein mit",  # nine words say too little
    ],
)
def test_what_may_be_english_is_not_refused(text):
    assert looks_unlike("en", text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Hunden er ikke i huset, og katten sover på sofaen. Vi går i parken med børnene i dag og spiser is.",
        "Pies nie jest w domu, a kot śpi na kanapie. Idziemy dziś z dziećmi do parku i jemy lody.",
        "Köpek evde değil ve kedi kanepede uyuyor. Bugün çocuklarla parka gidip dondurma yiyeceğiz.",
        "Koira ei ole talossa, ja kissa nukkuu sohvalla. Menemme tänään lasten kanssa puistoon syömään jäätelöä.",
    ],
)
def test_letters_that_english_does_not_have_tell_languages_without_a_list(text):
    assert looks_unlike("en", text) == "are written with letters that English does not have"
    assert looks_unlike("da", text) is None
    assert looks_unlike("en", text.encode("ascii", "ignore").decode()) is None
    assert looks_unlike("en", f"{text} This is what the old man said to the dog, and it was not for us.") is None


def test_a_few_borrowed_letters_are_english():
    names = ["Café"] * 2 + ["Boulevard"] * 10  # 2 of 98 letters are more than 0.02
    assert looks_unlike("en", " ".join(names)) == "are written with letters that English does not have"
    assert looks_unlike("en", " ".join([*names, "go"])) is None  # and 2 of 100 are not
    assert looks_unlike("en", " ".join(["the", *names])) is None


def test_the_bounds():
    ten = ["und", "ist"] + ["Haus"] * 8
    assert looks_unlike("en", " ".join(ten)) == "look german (de)"
    assert looks_unlike("en", " ".join(ten[:9])) is None
    twenty = ["und", "ist", "mit"] + ["Haus"] * 17
    assert looks_unlike("en", " ".join(twenty)) == "look german (de)"
    assert looks_unlike("en", " ".join(["Haus", *twenty])) is None
    assert looks_unlike("en", " ".join(["the", *twenty[:-1]])) is None
    assert looks_unlike("en", " ".join(["The,", *twenty, "und"])) == "look german (de)"


def test_the_packaged_passages_are_english():
    for passage in passages():
        assert looks_unlike("en", passage.text) is None
