"""Words for the training text: the lists of data/words.toml, and words that nobody has seen."""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import tomllib

Item = TypeVar("Item")

DATA = Path(__file__).parent / "data"
SYLLABLES = (
    "b bl br c ch d dr f fl g gr h j k l m n p pl qu r s sh sk sn st t tr v w z y".split(),
    "a e i o u ai ee oo ou ar er or in on an".split(),
    "b ck d g l ll m n p r rd s sk st t nt x zz v k".split(),
)
COUNTED = "zero one two three four five six seven eight nine ten".split()


def read_toml(name: str) -> dict[str, Any]:
    """A file of the data folder."""
    return tomllib.loads((DATA / name).read_text(encoding="utf-8"))


def split(text: str) -> list[str]:
    """The items of a ", " list."""
    return [item.strip() for item in text.split(", ") if item.strip()]


RAW = read_toml("words.toml")
PHRASES = read_toml("phrases.toml")
THEMES = {name: {key: split(text) for key, text in theme.items()} for name, theme in RAW["themes"].items()}
LISTS = {name: split(text) for name, text in RAW["lists"].items()}
KEYS = {name: split(text) for name, text in RAW["keys"].items()}
TEXTS = {name: split(text) for name, text in RAW["texts"].items()}
NUMBERS: dict[str, list[int]] = RAW["numbers"]
JOKES = RAW["jokes"].strip().splitlines()
ADJECTIVES = split(RAW["adjectives"])
FRIENDS, FRIEND_NAMES = split(RAW["friends"]), split(RAW["friend_names"])
FIRST_NAMES, CITIES, COUNTRIES = (split(RAW[name]) for name in ("first_names", "cities", "countries"))
PETS, PET_NAMES, JOBS = split(RAW["pets"]), split(RAW["pet_names"]), split(RAW["jobs"])
TOPICS, COLUMNS, THINGS, ENGLISH = (split(RAW[name]) for name in ("topics", "columns", "things", "english"))
SUBJECTS = [(noun, theme) for theme, words in THEMES.items() for noun in words["subjects"]]
KNOWN = [noun for noun, _ in SUBJECTS] + THINGS + JOBS + [name.lower() for name in FIRST_NAMES]


def phrases(module: str, name: str) -> list[str]:
    """One list of data/phrases.toml."""
    text: str = PHRASES[module][name]
    return text.split("|")


def phrase_groups(module: str, name: str) -> dict[str, list[str]]:
    """Several lists of data/phrases.toml that belong together."""
    return {key: text.split("|") for key, text in PHRASES[module][name].items()}


def letter_model(words: Sequence[str]) -> dict[str, str]:
    """Which letters follow each pair of letters in WORDS."""
    following: dict[str, str] = {}
    for word in words:
        padded = f"^^{word}$"
        for at in range(2, len(padded)):
            pair = padded[at - 2 : at]
            following[pair] = following.get(pair, "") + padded[at]
    return following


LETTERS = letter_model([word for word in KNOWN if word.isalpha() and word.isascii()])


def seeded(seed: int) -> random.Random:
    """The only source of chance: the same seed gives the same text."""
    return random.Random(seed)


def pick(rng: random.Random, items: Sequence[Item], keep: float = 0.75) -> Item:
    """One of ITEMS: the first with chance KEEP, else the next, and so on.

    Greedy decoding then has a clear winner, and sampling stays varied.
    """
    for item in items:
        if rng.random() < keep:
            return item
    return items[0]


def worded(rng: random.Random, texts: Sequence[str]) -> str:
    """One of TEXTS, with one of the words of each <a/b/c> in it; such texts are likelier, since each stands for many."""
    text = rng.choices(texts, [1 + 2 * ("<" in text) for text in texts])[0]
    chosen = re.sub("<([^<>]*)>", lambda words: rng.choice(words[1].split("/")), text)
    return re.sub(r" +([.?!,]*( |$))", r"\1", chosen)


def unseen(rng: random.Random) -> str:
    """A new word: syllables, or letters that follow each other as in English words."""
    if rng.random() < 0.35:
        parts = [rng.choice(SYLLABLES[0]) + rng.choice(SYLLABLES[1]) for _ in range(rng.choice([1, 2, 2, 3]))]
        return "".join(parts) + rng.choice(["", rng.choice(SYLLABLES[2])])
    word = "^^"
    while len(word) < 15:
        word += rng.choice(LETTERS[word[-2:]])
        if word[-1] == "$":
            break
    word = word.strip("^$")
    return word if len(word) > 2 else unseen(rng)


def any_word(rng: random.Random) -> str:
    """An English noun or an unseen word."""
    roll = rng.random()
    if roll < 0.6:
        return unseen(rng)
    return rng.choice(THINGS) if roll < 0.8 else rng.choice(SUBJECTS)[0]


def first_name(rng: random.Random) -> str:
    """A known name or an unseen one."""
    return unseen(rng).capitalize() if rng.random() < 0.5 else rng.choice(FIRST_NAMES)


def place_name(rng: random.Random) -> str:
    """A known city or an unseen one."""
    return unseen(rng).capitalize() if rng.random() < 0.5 else rng.choice(CITIES)


def digits(rng: random.Random, most: int = 6) -> str:
    """A number of one to MOST digits."""
    return str(rng.randrange(10 ** rng.randint(1, most)))


def small_number(rng: random.Random, low: int, high: int) -> tuple[int, str]:
    """A number, and the same in digits or as a word."""
    count = rng.randint(low, high)
    return count, rng.choice([str(count), COUNTED[count]])


def article(noun: str) -> str:
    """NOUN with "a" or "an"."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def join(items: Sequence[str]) -> str:
    """The items as in "a", "a and b" or "a, b and c"."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def bullets(items: Sequence[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {item}" for item in items)
