"""Questions about the package, from the facts in data/facts_*.toml."""

import random
from dataclasses import dataclass

from tools.train_demo_model.phrasing import Chat, Forms, Turn, ask_in_form, formed_turns, vary, vary_question
from tools.train_demo_model.words import bullets, phrases, read_toml, worded

ABOUT_NAME = phrases("knowledge", "about_name")
ABOUT_TASK = phrases("knowledge", "about_task")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that the model knows, and the phrases that ask for it."""

    names: list[str]
    tasks: list[str]
    asked: list[str]
    forms: Forms


def read_fact(entry: dict[str, str], points: list[str]) -> Fact:
    """A fact as it stands in the file."""
    names, tasks, asked = (entry[key].split("|") if key in entry else [] for key in ("names", "tasks", "asked"))
    full = f"{entry['short']} {entry['more']}"
    return Fact(names=names, tasks=tasks, asked=asked, forms=Forms(full, entry["short"], bullets(points)))


FACTS = [
    read_fact(entry, entry["points"])
    for name in ("facts_self.toml", "facts_use.toml", "facts_terms.toml")
    for entry in read_toml(name)["fact"]
]
# A fact with many phrases needs more practice than one with few.
WEIGHTS = [6 + len(fact.names) + len(fact.tasks) + len(fact.asked) for fact in FACTS]
HELLO = "Hello from demo, a tiny demonstration model!"
HELLO_ASKED = phrases("knowledge", "hello_asked")


def question(rng: random.Random, fact: Fact) -> str:
    """One of the many ways to ask for FACT."""
    kinds = [kind for kind, texts in zip("nta", (fact.names, fact.tasks, fact.asked), strict=True) if texts]
    kind = rng.choice([*kinds, "a"])
    if kind == "a":
        return worded(rng, fact.asked)
    if kind == "n":
        return worded(rng, ABOUT_NAME).replace("{}", rng.choice(fact.names))
    return worded(rng, ABOUT_TASK).replace("{}", worded(rng, fact.tasks))


def fact_turns(rng: random.Random, chat: Chat) -> list[Turn]:
    """A question about the package."""
    fact = rng.choices(FACTS, WEIGHTS)[0]
    return formed_turns(rng, vary_question(rng, question(rng, fact)), fact.forms, chat)


def self_turns(rng: random.Random, chat: Chat) -> list[Turn]:
    """The questions that people ask first."""
    if rng.random() < 0.3:
        return [Turn(vary(rng, rng.choice(HELLO_ASKED)), HELLO)]
    fact = FACTS[0]
    asked = worded(rng, fact.asked)
    if rng.random() < 0.3 and not chat.brief:
        return [Turn(ask_in_form(rng, asked, "short"), fact.forms.short)]
    return [Turn(vary(rng, asked), fact.forms.short if chat.brief else fact.forms.full)]
