"""Which rules run on which kind of text, and with which settings: named recipes, each of which can be changed.

A recipe is a list of rules in the order in which they run, which is the same in all recipes; a rule that does not run
is None.

`web` is the rules of Gopher, C4 and FineWeb with what each of them published. FineWeb itself runs C4's rules before its
own and without the one about sentence ends, which alone takes out some 30 % of the tokens. Of C4's rules it is
also the one with the largest gain in FineWeb's comparison, and one machine can train on a small part of a crawl at most:
here it is on. To do as FineWeb did: `--set c4.sentence_ends=false`.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Literal, get_args

from pydantic import ValidationError

from mlxllm.config import Section
from mlxllm.data.clean.c4 import C4
from mlxllm.data.clean.code import Code
from mlxllm.data.clean.fineweb import FineWeb
from mlxllm.data.clean.gopher import GopherQuality, GopherRepetition
from mlxllm.data.clean.language import Language
from mlxllm.data.clean.mojibake import Mojibake
from mlxllm.data.clean.papers import Papers
from mlxllm.data.clean.personal_data import PersonalData
from mlxllm.errors import ConfigError
from mlxllm.settings import expectation, plain_value, shown

Dedup = Literal["none", "exact", "near"]


class Recipe(Section):
    """How the documents of a source are cleaned."""

    mojibake: Mojibake | None = None
    """Repair what a wrong decoding left behind."""
    language: Language | None = None
    """Only some languages."""
    papers: Papers | None = None
    """Whole texts that are no tables."""
    code: Code | None = None
    """Code that somebody wrote."""
    gopher_repetition: GopherRepetition | None = None
    """Not the same again and again."""
    gopher_quality: GopherQuality | None = None
    """Text and no symbols."""
    fineweb: FineWeb | None = None
    """Prose and no lists."""
    c4: C4 | None = None
    """Sentences only; takes lines out. It runs behind FineWeb's rules, which measure the lines of the page."""
    personal_data: PersonalData | None = None
    """Addresses replaced."""
    dedup: Dedup = "none"
    """Leave out documents that have come before: the same text (exact), or nearly the same (near)."""
    begun_as: str = "none"
    """The named recipe that it was before something was changed."""

    def rules(self) -> dict[str, Any]:
        """What runs, with all settings, as JSON has it."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"begun_as"})


def _recipes() -> dict[str, Recipe]:
    return {
        "web": Recipe(
            mojibake=Mojibake(),
            language=Language(),
            gopher_repetition=GopherRepetition(),
            gopher_quality=GopherQuality(),
            fineweb=FineWeb(),
            c4=C4(),
            personal_data=PersonalData(),
            dedup="near",
            begun_as="web",
        ),
        "code": Recipe(code=Code(), personal_data=PersonalData(), dedup="near", begun_as="code"),
        # Authors publish their addresses in their papers: neither peS2o nor RedPajama replaces them. Nor does either ask
        # for Gopher's repetition, which finds the tables and the lines between formulas of good papers.
        "papers": Recipe(language=Language(), papers=Papers(), dedup="near", begun_as="papers"),
        "none": Recipe(),
    }


RECIPES = _recipes()
"""By name. `none` leaves every document as it is."""
_NO_RULES = ("dedup", "begun_as")
RULES = tuple(name for name in Recipe.model_fields if name not in _NO_RULES)
"""In the order in which they run."""


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in RECIPES:
        near = get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(RECIPES)}"
        raise ConfigError(f"there is no recipe {name!r} for cleaning; {hint}")
    return RECIPES[name]


def recipe_name(of: Recipe) -> str:
    """The name of a recipe, and whether it was changed."""
    return of.begun_as if of == RECIPES[of.begun_as] else f"{of.begun_as}, changed"


def runs_in(made: Recipe, setting: str) -> bool:
    """Whether a setting is about what is there in a recipe: a rule that runs in it, or one to be switched."""
    rule, _, key = setting.partition("=")[0].strip().partition(".")
    return not key or getattr(made, rule, None) is not None


def with_settings(changed: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with some settings changed, as `--set` takes them.

    Args:
        changed: the recipe to begin with; it stays as it is.
        settings: "rule.key=value", "rule=on" with the published settings, "rule=off", "dedup=exact".

    Raises:
        ConfigError: one sentence about the first that is wrong.
    """
    for setting in settings:
        changed = _with_setting(changed, setting)
    return changed


def _with_setting(changed: Recipe, setting: str) -> Recipe:
    path, separator, written = setting.partition("=")
    rule, _, key = path.strip().partition(".")
    if not separator or not rule:
        raise ConfigError(
            f"--set {setting!r} is not of the form rule.key=value, for example gopher_quality.max_words=50000"
        )
    if rule not in ("dedup", *RULES):
        raise ConfigError(f"setting {path.strip()!r} (from --set {setting}) does not exist{_near(path.strip())}")
    raw = changed.model_dump(mode="json")
    value = plain_value(written)
    if rule == "dedup":
        if key:
            raise ConfigError(f"setting {path.strip()!r} (from --set {setting}) does not exist; did you mean dedup?")
        raw[rule] = "none" if written.strip() == "off" else written.strip()
    elif not key:
        if (on := _ON_OR_OFF.get(str(value).lower())) is None:
            raise ConfigError(
                f"--set {setting}: a rule is switched {rule}=on or {rule}=off, or set by {_keys(rule)[0]}"
            )
        raw[rule] = (raw[rule] or {}) if on else None
    elif key not in _settings_of(rule).model_fields:
        raise ConfigError(f"setting {path.strip()!r} (from --set {setting}) does not exist{_near(path.strip())}")
    elif raw[rule] is None:
        raise ConfigError(f"--set {setting}: {rule} does not run in this recipe; put --set {rule}=on before it")
    else:
        raw[rule][key] = value
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "value_error":
            raise ConfigError(f"{first['ctx']['error']} (from --set {setting})") from None
        raise ConfigError(
            f"setting {path.strip()} is {shown(first['input'])} (from --set {setting}); {expectation(first['msg'])}"
        ) from None


_ON_OR_OFF = {"on": True, "true": True, "off": False, "false": False, "none": False}


def _settings_of(rule: str) -> type[Section]:
    section: type[Section] = get_args(Recipe.model_fields[rule].annotation)[0]
    return section


def _keys(rule: str) -> list[str]:
    return [f"{rule}.{key}" for key in _settings_of(rule).model_fields]


def all_keys() -> list[str]:
    """Everything that `with_settings` takes, without its value."""
    return ["dedup", *RULES, *(key for rule in RULES for key in _keys(rule))]


def _near(path: str) -> str:
    rule, _, key = path.partition(".")
    # A misspelt rule, whether its setting is right or not.
    if rule not in RULES and (meant := get_close_matches(rule, [*RULES, "dedup"], n=1, cutoff=0.7)):
        path = f"{meant[0]}.{key}" if key else meant[0]
        if path in all_keys():
            return f"; did you mean {path}?"
    near = get_close_matches(path, all_keys(), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else f"; the rules are {', '.join(RULES)}, and dedup"
