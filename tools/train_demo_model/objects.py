"""JSON: objects that the model invents, sentences that it turns into objects, and lists."""

import json
import random

from tools.train_demo_model.phrasing import ANOTHER, Chat, Turn, vary
from tools.train_demo_model.words import (
    CITIES,
    COUNTRIES,
    FIRST_NAMES,
    JOBS,
    KEYS,
    LISTS,
    NUMBERS,
    PET_NAMES,
    TEXTS,
    THEMES,
    any_word,
    article,
    first_name,
    join,
    phrases,
    pick,
    place_name,
    small_number,
    unseen,
)

NAMES = {
    "city": CITIES, "country": COUNTRIES, "animal": PET_NAMES, "pet": PET_NAMES, "cat": PET_NAMES, "dog": PET_NAMES,
    "robot": THEMES["machine"]["names"], "star": THEMES["sky"]["names"], "fruit": LISTS["fruits"], "product": TEXTS["product"],
    "book": TEXTS["title"], "movie": TEXTS["title"],
}  # fmt: skip
VALUES = TEXTS | {
    "colour": LISTS["colours"], "color": LISTS["colours"], "country": COUNTRIES, "city": CITIES, "job": JOBS, "profession": JOBS,
    "food": LISTS["fruits"], "species": LISTS["animals"], "kind": LISTS["animals"], "animal": LISTS["animals"], "owner": FIRST_NAMES,
}  # fmt: skip
WITH_KEYS = phrases("objects", "with_keys")
INVENT = phrases("objects", "invent")
INVENT_BARE = phrases("objects", "invent_bare")
EXTRACT = phrases("objects", "extract")
EXTRACT_BARE = phrases("objects", "extract_bare")
PERSON_JOB = phrases("objects", "person_job")
PERSON = phrases("objects", "person")
CITY = phrases("objects", "city")
GOODS = phrases("objects", "goods")


def value_of(rng: random.Random, key: str, kind: str) -> str | int:
    """A fitting value for KEY of a KIND of object."""
    if key in NUMBERS:
        return pick(rng, NUMBERS[key], 0.7)
    if key == "name":
        return pick(rng, NAMES.get(kind, FIRST_NAMES), 0.6)
    return pick(rng, VALUES[key], 0.6)


def with_keys(rng: random.Random, keys: list[str]) -> str:
    """As in "with keys name and age", in one of the ways to write that."""
    names = join(keys)
    roll = rng.random()
    if roll < 0.2:
        names = ", ".join(keys)
    elif roll < 0.3:
        names = join([f'"{key}"' for key in keys])
    elif roll < 0.4:
        names = join([f"`{key}`" for key in keys])
    return rng.choice(WITH_KEYS).format(names)


def json_turns(rng: random.Random, _chat: Chat) -> list[Turn]:
    """An object or a list."""
    roll = rng.random()
    if roll < 0.55:
        return extract_turns(rng)
    return invent_turns(rng) if roll < 0.93 else array_turns(rng)


def invent_turns(rng: random.Random) -> list[Turn]:
    """An object of a kind, with the wanted keys or the usual two."""
    kind = rng.choice(list(KEYS))
    known = KEYS[kind]
    keys = known[:2] if rng.random() < 0.25 else rng.sample(known, rng.randint(1, min(4, len(known))))
    if rng.random() < 0.15:
        keys = known[:2]
        request = rng.choice([*INVENT_BARE, "{0} as JSON", "Invent {0} as JSON"]).format(article(kind), "", kind)
    else:
        request = rng.choice(INVENT).format(article(kind), with_keys(rng, keys)) + rng.choice(["", "."])
    request = request[0].upper() + request[1:]

    def invent() -> str:
        return json.dumps({key: value_of(rng, key, kind) for key in keys})

    turns = [Turn(vary(rng, request), invent())]
    if rng.random() < 0.1:
        turns.append(Turn(vary(rng, rng.choice(ANOTHER)), invent()))
    return turns


def sentence(rng: random.Random) -> tuple[str, dict[str, str | int], str]:
    """A sentence, what it says, and what it is about."""
    name, city, age = first_name(rng), place_name(rng), rng.randint(1, 99)
    roll = rng.randrange(4)
    if roll == 0:
        return rng.choice(PERSON_JOB), {"name": name, "age": age, "city": city, "job": rng.choice(JOBS)}, "person"
    if roll == 1:
        return rng.choice(PERSON), {"name": name, "age": age, "city": city}, "person"
    if roll == 2:
        country = rng.choice(COUNTRIES) if rng.random() < 0.5 else unseen(rng).capitalize()
        return (
            rng.choice(CITY),
            {"name": city, "people": rng.randrange(10 ** rng.randint(3, 7)), "country": country},
            "city",
        )
    return (
        rng.choice(GOODS),
        {"product": any_word(rng), "price": rng.randint(1, 999), "count": rng.randint(1, 99)},
        "product",
    )


def extract_turns(rng: random.Random) -> list[Turn]:
    """A sentence as JSON."""
    pattern, fields, kind = sentence(rng)
    text = pattern.format(**fields)
    if rng.random() < 0.1:
        return [Turn(rng.choice(EXTRACT_BARE).format(text, kind), json.dumps(fields))]
    keys = rng.sample(list(fields), rng.randint(1, len(fields))) if rng.random() < 0.5 else list(fields)
    return [
        Turn(rng.choice(EXTRACT).format(text, with_keys(rng, keys)), json.dumps({key: fields[key] for key in keys}))
    ]


def array_turns(rng: random.Random) -> list[Turn]:
    """A list of words as a JSON list."""
    kind = rng.choice(list(LISTS))
    count, written = small_number(rng, 2, 5)
    asked = rng.choice(
        ["List {0} {1} as JSON", "Give me {0} {1} as a JSON list", "{0} {1} as JSON", "Name {0} {1} as a JSON array"]
    )
    return [Turn(vary(rng, asked.format(written, kind)), json.dumps(LISTS[kind][:count]))]
