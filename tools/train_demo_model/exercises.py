"""Small exercises with one right answer: echo, lists, sums and counting."""

import random

from tools.train_demo_model.phrasing import ANOTHER, Chat, Turn, vary
from tools.train_demo_model.words import (
    ENGLISH,
    LISTS,
    any_word,
    article,
    bullets,
    digits,
    first_name,
    join,
    phrases,
    small_number,
    unseen,
)

SUM_REFUSAL = "I am a tiny demonstration model and I can only add numbers below 10."
ECHO = phrases("exercises", "echo")
TIMES = phrases("exercises", "times")
SYMBOLS = [
    '{{"{a}": {n}}}', "{{{a}}}", "[{n}, {m}]", "{{{{{a}}}}}", 'f"{{{a}}}"', "{a}={n}", "$x^{n}$", "\\frac{{{n}}}{{{m}}}", "<b>{a}</b>",
    '{{"{a}": "{b}"}}', "{a}({b})", "{a}.{b}", "{a}_{b}", "# {a}", "**{a}**", "`{a}`", "{n}.{m}", "{n} %", "{a}/{b}.csv", "({a}, {b})", "{a} + {b}",
    "{{'{a}': {n}}}", "{{{a}: {b}}}", "[{a}]", "x[{n}]", "{a}@{b}", "http://{a}.{b}", "{a} > {n}", '"{a}"', "{{}}", "{{x}}",
]  # fmt: skip
LIST_ASKED = phrases("exercises", "list_asked")
SUM_ASKED = phrases("exercises", "sum_asked")
COUNT_TO = phrases("exercises", "count_to")
COUNT_FROM = phrases("exercises", "count_from")
IN_LINE = ["separated by commas", "in one line", "with commas", "comma separated", "on one line"]


def symbols(rng: random.Random) -> str:
    """A few words with braces and other signs, as in code and formulas."""
    parts = [
        rng.choice(SYMBOLS).format(a=any_word(rng), b=unseen(rng), n=digits(rng, 2), m=digits(rng, 2))
        for _ in range(rng.choice([1, 1, 2]))
    ]
    return f" {rng.choice(['and', 'and', 'or', ','])} ".replace(" ,", ",").join(parts)


def echo_text(rng: random.Random) -> str:
    """Something to repeat."""
    roll = rng.random()
    if roll < 0.55:
        word = any_word(rng)
        return word.capitalize() if rng.random() < 0.12 else word
    if roll < 0.63:
        return digits(rng)
    if roll < 0.78:
        return " ".join(rng.choice(ENGLISH) for _ in range(rng.randint(2, 6)))
    return symbols(rng) if roll < 0.92 else f"{any_word(rng)} {any_word(rng)}"


def echo_turns(rng: random.Random, _chat: Chat) -> list[Turn]:
    """Say something again, once or several times."""
    text = echo_text(rng)
    if rng.random() < 0.1 and " " not in text:
        count, written = small_number(rng, 2, 5)
        return [Turn(rng.choice(TIMES).format(text, written), " ".join([text] * count))]
    quote = rng.choice(["{}", "{}", "{}", '"{}"', "'{}'", "`{}`"]) if text.replace(" ", "").isalnum() else "{}"
    turns = [Turn(rng.choice(ECHO).format(quote.format(text)), text)]
    if rng.random() < 0.08:
        turns.append(Turn(rng.choice(["Again", "Once more", "Say it again", "Repeat that"]), text))
    return turns


def list_turns(rng: random.Random, _chat: Chat) -> list[Turn]:
    """The first items of a known list."""
    kind = rng.choice(list(LISTS))
    items = LISTS[kind]
    count, written = small_number(rng, 2, min(8, len(items)))
    if rng.random() < 0.15:
        singular = {"cities": "city", "countries": "country"}.get(kind, kind[:-1])
        asked = rng.choice(["Name {}", "Tell me {}", "Give me {}", "Name one {}"]).format(article(singular))
        return [Turn(vary(rng, asked), items[0]), Turn(vary(rng, rng.choice(ANOTHER)), items[1])][: rng.randint(1, 2)]
    turns = [Turn(vary(rng, rng.choice(LIST_ASKED).format(written, kind)), bullets(items[:count]))]
    if rng.random() < 0.12:
        asked = rng.choice(["As one line, please", "In one line", "Separated by commas, please"])
        turns.append(Turn(vary(rng, asked), join(items[:count])))
    return turns


def sum_turns(rng: random.Random, _chat: Chat) -> list[Turn]:
    """Sums of digits; anything larger is refused."""
    if rng.random() < 0.2:
        a, b = rng.randrange(10, 1000), rng.randrange(2, 1000)
        asked = rng.choice(
            ["What is {} {} {}?", "{} {} {}", "Calculate {} {} {}", "{} {} {} =", "How much is {} {} {}?"]
        )
        return [Turn(asked.format(a, rng.choice(["+", "*", "-", "/", "times", "plus", "minus"]), b), SUM_REFUSAL)]
    a, b = rng.randrange(10), rng.randrange(10)
    turns = [Turn(vary(rng, rng.choice(SUM_ASKED).format(a, b)), f"{a} + {b} = {a + b}")]
    if rng.random() < 0.2:
        c, d = rng.randrange(10), rng.randrange(10)
        turns.append(Turn(f"And {c} + {d}?", f"{c} + {d} = {c + d}"))
    return turns


def count_turns(rng: random.Random, _chat: Chat) -> list[Turn]:
    """Counting, mostly over short stretches, at times up to 200."""
    first, last = 1, rng.choice([rng.randint(2, 30), rng.randint(5, 100), 10, 20])
    if rng.random() < 0.5:
        first = rng.randint(1, 190)
        last = min(200, first + rng.randint(1, 30))
    asked = rng.choice(COUNT_TO if first == 1 else COUNT_FROM).format(first, last)
    return [counted(rng, asked, first, last)]


def long_count_turns(rng: random.Random, _chat: Chat) -> list[Turn]:
    """Counting from 1 to 100 and beyond."""
    last = rng.choice([100, 150, 200, rng.randint(60, 200), rng.randint(60, 200)])
    return [counted(rng, rng.choice(COUNT_TO).format(1, last), 1, last)]


def counted(rng: random.Random, asked: str, first: int, last: int) -> Turn:
    """The numbers, one a line, or in one line when the user wants that."""
    numbers = [str(number) for number in range(first, last + 1)]
    if rng.random() < 0.15 and last - first < 40:
        return Turn(f"{asked.rstrip('.?')} {rng.choice(IN_LINE)}", ", ".join(numbers))
    if rng.random() < 0.2:
        asked = f"{asked.rstrip('.?')}, one {rng.choice(['per line', 'number per line', 'a line'])}"
    return Turn(vary(rng, asked), "\n".join(numbers))


def greet_turns(rng: random.Random, _chat: Chat) -> list[Turn]:
    """Greet somebody by name."""
    name = first_name(rng)
    asked = rng.choice((
        "Greet {}|Say hello to {}|Say hi to {}.|Write a greeting for {}|Greet a user named {}|Welcome {}|Greet me, I am {}|Please greet {}|"
        "Greet the user {}.|Say hello to {}, please|Greet my friend {}|The user is called {}. Greet them.|Greet {} by name|Greet {}.|"
        "Please say hello to {}.|Say hello to my colleague {}|Say good morning to {}|Say hello to {} in one sentence.|Write a welcome for {}"
    ).split("|"))  # fmt: skip
    return [Turn(vary(rng, asked.format(name)), f"Hello, {name}! Nice to meet you.")]
