"""The language is told, and what was not asked for is dropped."""

import pytest

from mlxllm.data.clean.language import Language, identify, language
from mlxllm.data.clean.language_codes import KNOWN, language_code
from mlxllm.data.clean.prepared import Finding, Prepared
from mlxllm.data.clean.recipes import Recipe, recipe, with_settings
from mlxllm.errors import ConfigError

SENTENCES = {
    "en": "The committee will meet again on Thursday to discuss the budget for next year.",
    "de": "Der Ausschuss trifft sich am Donnerstag wieder, um über den Haushalt zu sprechen.",
    "fr": "Le comité se réunira de nouveau jeudi pour discuter du budget de l'année prochaine.",
    "es": "El comité se reunirá de nuevo el jueves para discutir el presupuesto del próximo año.",
    "it": "Il comitato si riunirà di nuovo giovedì per discutere il bilancio del prossimo anno.",
    "pt": "O comitê se reunirá novamente na quinta-feira para discutir o orçamento do próximo ano.",
    "nl": "De commissie komt donderdag weer bijeen om over de begroting van volgend jaar te praten.",
    "sv": "Kommittén träffas igen på torsdag för att diskutera budgeten för nästa år.",
    "pl": "Komitet spotka się ponownie w czwartek, aby omówić budżet na przyszły rok.",
    "cs": "Výbor se znovu sejde ve čtvrtek, aby projednal rozpočet na příští rok.",
    "ru": "Комитет снова соберется в четверг, чтобы обсудить бюджет на следующий год.",
    "tr": "Komite gelecek yılın bütçesini görüşmek üzere perşembe günü yeniden toplanacak.",
    "ar": "ستجتمع اللجنة مرة أخرى يوم الخميس لمناقشة ميزانية العام المقبل.",
    "zh": "委员会将于星期四再次开会，讨论明年的预算。",
    "ja": "委員会は木曜日に再び集まり、来年の予算について話し合う予定です。",
    "hi": "समिति अगले साल के बजट पर चर्चा करने के लिए गुरुवार को फिर मिलेगी।",
}


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_is_enough(code: str) -> None:
    found, score = identify(SENTENCES[code])
    assert (found, score >= 0.5) == (code, True)


ENGLISH = """In the spring of 1902 the people of the town began to build a house for their paintings, and it took them
four years. Nobody had asked an architect, so the walls were of different heights, which is why the roof had to be made
twice. The first director was a teacher who wrote to every painter she knew, and visitors have come ever since."""


@pytest.mark.parametrize("code", SENTENCES)
def test_the_quick_look_settles_english_and_nothing_else_as_english(code: str) -> None:
    found, score = identify(ENGLISH if code == "en" else "\n".join([SENTENCES[code]] * 10))
    assert found == code
    assert score == 1.0 or code != "en"  # the classifier never gives English that


def test_texts_without_letters_have_no_language() -> None:
    for text in ("", " \n", "12345 ... 678", "!?" * 500):
        assert identify(text) == ("und", 0.0)


def test_long_texts_are_looked_at_in_several_places() -> None:
    names = "Hans Müller, Jürgen Weiß, Björn Großmann, Ulrike Schäfer\n" * 60
    prose = f"{SENTENCES['en']}\n" * 120
    assert identify(prose + names + prose)[0] == "en"


def outcome(text: str, metadata: dict[str, str] | None = None, **settings: object) -> tuple[Finding | None, str]:
    prepared = Prepared(text, metadata or {})
    finding = language(prepared, Language.model_validate(settings))
    return finding, prepared.language


def test_only_what_was_asked_for_is_kept() -> None:
    assert outcome(SENTENCES["en"]) == (None, "en")
    finding, code = outcome(SENTENCES["de"])
    assert (finding and finding.reason, code) == ("language: not asked for", "de")
    assert outcome(SENTENCES["de"], languages="en,de") == (None, "de")
    assert outcome(SENTENCES["de"], languages=()) == (None, "de")


def test_a_low_score_is_not_certain() -> None:
    _, score = identify(SENTENCES["en"])
    assert outcome(SENTENCES["en"], min_score=score)[0] is None
    finding, _ = outcome(SENTENCES["en"], min_score=min(1.0, score + 1e-6))
    assert finding is not None
    assert finding.reason == "language: not certain"


def test_what_the_source_tells_is_trusted_unless_it_is_not_to_be() -> None:
    told = {"language": "eng"}
    assert outcome(SENTENCES["de"], told) == (None, "en")
    assert outcome(SENTENCES["de"], told, trust_source=False)[1] == "de"
    assert outcome(SENTENCES["de"], {"language": "eng,deu"})[1] == "de"  # a WET header on a page in two languages
    assert outcome(SENTENCES["de"], {"language": "Klingon"})[1] == "de"


@pytest.mark.parametrize(
    ("written", "code"),
    [("en", "en"), ("ENG", "en"), ("en-US", "en"), ("eng_Latn", "en"), ("English", "en"), ("ger", "de"), ("deu", "de"),
     ("nb", "no"), ("zh-Hant", "zh"), ("cmn", "zh"), ("", ""), ("eng,deu", ""), ("python", ""), ("xx", ""), ("und", "")],
)  # fmt: skip
def test_codes(written: str, code: str) -> None:
    assert language_code(written) == code


def test_the_known_languages_are_those_of_the_classifier() -> None:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    labels = LanguageIdentifier.from_model_file(MODEL_FILE).labels
    assert {language_code(label) for label in labels if label != "zxx"} == KNOWN


def test_unknown_languages_cannot_be_asked_for() -> None:
    with pytest.raises(
        ConfigError, match=r"language\.languages has 'dx', .* with that letter are da, de, dz \(from --set"
    ):
        with_settings(recipe("web"), ["language.languages=en,dx"])
    changed = with_settings(Recipe(language=Language()), ["language.languages=no"])
    assert changed.language is not None
    assert changed.language.languages == ("no",)
