"""Recipes by name, and how one is changed by settings."""

import json
import re

import pytest

from mlxllm.config import Section
from mlxllm.data.clean.cleaner import _FUNCTIONS
from mlxllm.data.clean.recipes import RECIPES, RULES, Recipe, all_keys, recipe, recipe_name, with_settings
from mlxllm.data.sources import list_sources
from mlxllm.errors import ConfigError


def test_every_rule_has_its_function_and_every_setting_its_line() -> None:
    assert tuple(_FUNCTIONS) == RULES
    for key in all_keys():
        rule, _, name = key.partition(".")
        if name:
            section = Recipe.model_fields[rule].annotation.__args__[0]  # type: ignore[union-attr]
            assert issubclass(section, Section)
            assert section.model_fields[name].description, key
        else:
            assert Recipe.model_fields[rule].description, key


def test_the_recipe_of_every_source_exists() -> None:
    assert {kind.recipe for kind in list_sources()} <= set(RECIPES)
    with pytest.raises(ConfigError, match="there is no recipe 'wbe' for cleaning; did you mean 'web'"):
        recipe("wbe")
    with pytest.raises(ConfigError, match="there are web, code, papers, none"):
        recipe("x")


def test_a_recipe_travels_as_json() -> None:
    for one in RECIPES.values():
        assert Recipe.model_validate(json.loads(json.dumps(one.model_dump(mode="json")))) == one


def test_a_changed_recipe_is_called_by_what_it_was() -> None:
    for name, one in RECIPES.items():
        assert recipe_name(one) == name
        assert recipe_name(with_settings(one, ["personal_data=on", "dedup=exact", "code=on"])) == f"{name}, changed"
    stripped = with_settings(recipe("web"), [f"{rule}=off" for rule in RULES])
    assert recipe_name(stripped) == "web, changed"
    assert "begun_as" not in stripped.rules()


def test_settings_change_a_copy() -> None:
    settings = ["gopher_quality.max_words=50000", "dedup=exact", "language.languages=en,de", "c4=off", "papers=on"]
    changed = with_settings(recipe("web"), settings)
    assert changed.gopher_quality is not None
    assert changed.gopher_quality.max_words == 50_000
    assert changed.language is not None
    assert changed.language.languages == ("en", "de")
    assert (changed.dedup, changed.c4, changed.papers) == ("exact", None, RECIPES["papers"].papers)
    assert recipe("web").dedup == "near"
    assert with_settings(recipe("web"), ["dedup=none"]).dedup == "none"
    assert with_settings(recipe("none"), ["c4=on", "c4.sentence_ends=false"]).c4 is not None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("goper_quality.max_words=3", "does not exist; did you mean gopher_quality.max_words?"),
        ("gopher_quality.maxwords=3", "did you mean gopher_quality.max_words or"),
        ("dedupe=exact", "setting 'dedupe' (from --set dedupe=exact) does not exist; did you mean dedup?"),
        ("dedup.kind=exact", "did you mean dedup?"),
        ("dedup=exat", "setting dedup is 'exat' (from --set dedup=exat); it should be 'none', 'exact' or 'near'"),
        ("gopher_quality.max_words=many", "=many); it should be a valid integer"),
        ("gopher_quality.max_words=true", "setting gopher_quality.max_words is true"),
        ("gopher_quality.max_bullet_lines=90", "=90); it should be less than or equal to 1"),
        ("papers.min_words=3", "papers does not run in this recipe; put --set papers=on before it"),
        ("c4=7", "a rule is switched c4=on or c4=off, or set by c4.sentence_ends"),
        ("c4", "not of the form rule.key=value"),
        ("=3", "not of the form rule.key=value"),
        ("zzz.q=1", "does not exist; the rules are mojibake, language,"),
    ],
)  # fmt: skip
def test_what_cannot_be_set_is_refused_in_one_sentence(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        with_settings(recipe("web"), [setting])
    assert "\n" not in str(caught.value)
