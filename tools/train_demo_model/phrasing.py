"""How people write requests: openers, haste, and wishes for a form of the answer."""

import random
import string
from dataclasses import dataclass, field
from typing import NamedTuple

from tools.train_demo_model.words import phrase_groups, phrases


class Turn(NamedTuple):
    """A request and its answer."""

    asked: str
    answer: str


@dataclass
class Chat:
    """What earlier turns of a conversation have fixed."""

    brief: bool = False
    told: dict[str, str] = field(default_factory=dict)
    pet: str | None = None


class Forms(NamedTuple):
    """The same answer in three forms."""

    full: str
    short: str
    points: str


OPENERS = phrases("phrasing", "openers")
ENDINGS = "|| please|, please| again|, thanks| in this package| here| in a notebook| in Jupyter| exactly| with localllm-magics".split(
    "|"
)
LOOSE = {"the", "a", "an", "do", "does", "please", "me", "is", "to", "of", "for", "in", "can", "you", "what"}
WISHES = phrase_groups("phrasing", "wishes")
AGAIN = phrase_groups("phrasing", "again")
ANOTHER = phrases("phrasing", "another")


def lower_first(text: str) -> str:
    """TEXT without its capital, unless that is the word "I"."""
    return text if text.startswith(("I ", "I'")) else text[0].lower() + text[1:]


def drop_word(rng: random.Random, text: str) -> str:
    """TEXT without one of its small words, as in a telegram."""
    words = text.split(" ")
    loose = [at for at, word in enumerate(words) if word.lower() in LOOSE]
    if not loose or len(words) < 4:
        return text
    words.pop(rng.choice(loose))
    return " ".join(words)


def vary(rng: random.Random, text: str) -> str:
    """TEXT as a hurried person may type it."""
    if rng.random() < 0.15:
        text = lower_first(text)
    if rng.random() < 0.2:
        text = text.rstrip(".?!")
    roll = rng.random()
    if roll > 0.92:
        return f"{rng.choice(OPENERS)} {text}"
    if roll < 0.05:
        return "Please " + lower_first(text)
    if roll < 0.08:
        return rng.choice(["Hi, ", "Hello, ", "Hey, ", "Ok, ", "Now ", "And "]) + lower_first(text)
    if roll < 0.11 and text[-1] in string.ascii_letters:
        return text + rng.choice([", please", " please"])
    return text


def vary_question(rng: random.Random, text: str) -> str:
    """`vary`, with words lost or added: the rest must be enough to know what is meant."""
    if rng.random() < 0.1:
        text = drop_word(rng, text)
    if rng.random() < 0.1:
        bare = text.rstrip(".?!")
        text = bare + rng.choice(ENDINGS) + text[len(bare) :]
    return vary(rng, text)


def ask_in_form(rng: random.Random, text: str, form: str) -> str:
    """The request TEXT with a wish for FORM before or after it."""
    wish = rng.choice(WISHES[form])
    bare = text.rstrip(".?!")
    end = text[len(bare) :]
    style = rng.randrange(6)
    if style == 0:
        return f"{wish.capitalize()}: {lower_first(bare)}{end}"
    if style == 1:
        return f"{bare}{end or '.'} {rng.choice(['Answer', 'Reply', 'Write', 'Do it', 'Answer me'])} {wish}."
    if style == 2:
        return f"{wish.capitalize()}, {lower_first(bare)}{end}"
    if style == 3 and form == "short":
        return f"{bare}{end or '.'} {rng.choice(['One sentence only.', 'One sentence, please.', 'Keep it short.', 'Be brief.'])}"
    if style == 3:
        return f"Give me {rng.choice(['three', '3'])} {rng.choice(['points', 'bullet points', 'bullets'])}: {lower_first(bare)}{end}"
    return f"{bare} {wish}{end}"


def formed_turns(rng: random.Random, request: str, forms: Forms, chat: Chat) -> list[Turn]:
    """A request, perhaps with a form, and perhaps a wish for another form."""
    form = "short" if chat.brief else rng.choices(["full", "short", "points"], [6, 2, 2])[0]
    if form != "full" and not chat.brief:
        request = ask_in_form(rng, request, form)
    turns = [Turn(request, getattr(forms, form))]
    if rng.random() < 0.25:
        other = rng.choice([other for other in AGAIN if other != form])
        turns.append(Turn(vary(rng, rng.choice(AGAIN[other])), getattr(forms, other)))
    return turns
