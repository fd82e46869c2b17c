"""Tiny stories about a subject that the user names, and questions about them."""

import random
from dataclasses import dataclass

from tools.train_demo_model.phrasing import ANOTHER, Chat, Forms, Turn, formed_turns, vary
from tools.train_demo_model.words import (
    ADJECTIVES,
    FRIEND_NAMES,
    FRIENDS,
    SUBJECTS,
    THEMES,
    TOPICS,
    article,
    bullets,
    first_name,
    phrases,
    pick,
    read_toml,
    unseen,
)

PLOTS: dict[str, dict[str, str]] = read_toml("plots.toml")
TALES = ["search", "voice", "lesson", "storm"]
# The plot that a theme likes best comes first.
ORDER = {theme: TALES[at % 4 :] + TALES[: at % 4] for at, theme in enumerate(THEMES)}
EPISODES = ["river", "door", "music", "letter", "market", "bridge"]
REQUESTS = phrases("stories", "requests")
LONG_REQUESTS = phrases("stories", "long_requests")
SUMMARISE = phrases("stories", "summarise")
CONTINUE = phrases("stories", "continue")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a story is about: how the user says it, and how the story does."""

    wanted: str
    noun: str
    theme: str
    adjective: str | None = None
    name: str | None = None
    topic: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A finished story in all forms, with the words that it is made of."""

    forms: Forms
    words: dict[str, str]
    who: str
    next: str


def subject(rng: random.Random) -> Subject:
    """A known or an unseen noun, perhaps with an adjective, a plural or a name; or a topic."""
    roll = rng.random()
    if roll < 0.13:
        topic = rng.choice(TOPICS) if rng.random() < 0.6 else unseen(rng)
        return Subject(wanted=topic, noun=pick(rng, ["child", "girl", "boy"]), theme="any", topic=topic)
    noun, theme = rng.choice(SUBJECTS) if roll < 0.5 else (unseen(rng), "any")
    if rng.random() < 0.1:
        noun, theme = f"{rng.choice([unseen(rng), rng.choice(SUBJECTS)[0]])} {noun}", "any"
    roll = rng.random()
    if roll < 0.25:
        adjective = rng.choice(ADJECTIVES) if rng.random() < 0.7 else unseen(rng)
        return Subject(wanted=article(f"{adjective} {noun}"), noun=noun, theme=theme, adjective=adjective)
    if roll < 0.35 and noun[-1] not in "shxzy":
        return Subject(wanted=f"{noun}s", noun=noun, theme=theme)
    if roll < 0.52:
        name = first_name(rng)
        return Subject(
            wanted=f"{article(noun)} {rng.choice(['named', 'called'])} {name}", noun=noun, theme=theme, name=name
        )
    if roll < 0.58:
        return Subject(wanted=f"the {noun}", noun=noun, theme=theme)
    return Subject(wanted=article(noun), noun=noun, theme=theme)


def story_words(rng: random.Random, who: Subject, other_than: str = "") -> dict[str, str]:
    """Everything that a story needs to stay consistent."""
    theme = THEMES[who.theme]
    name = who.name or pick(rng, [name for name in theme["names"] if name != other_than])
    adjective = who.adjective or pick(rng, ["small", "curious", "brave", "kind", "shy"])
    friend = pick(rng, [friend for friend in FRIENDS if friend != who.noun])
    return {
        "noun": who.noun, "name": name, "topic": who.topic or "",
        "a": article(adjective), "A": article(adjective).capitalize(),
        "place": pick(rng, theme["places"]), "thing": pick(rng, theme["objects"]), "hobby": pick(rng, theme["hobbies"]),
        "friend": friend, "af": article(friend).split()[0], "Af": article(friend).split()[0].capitalize(),
        "other": pick(rng, [other for other in FRIEND_NAMES if other != name]),
        "time": pick(rng, ["One morning", "One evening", "One day", "One night"]),
        "Start": pick(rng, ["Once upon a time,", "Long ago,"], 0.85),
    }  # fmt: skip


def tell(rng: random.Random, plot_name: str, words: dict[str, str]) -> Story:
    """One story in all its forms."""
    plot = PLOTS[plot_name]
    words = words | {key: pick(rng, plot[key].split(", ")) for key in ("spot", "found") if key in plot}
    told = {key: plot[key].format(**words) for key in ("full", "short", "points", "who")}
    forms = Forms(told["full"], told["short"], bullets(told["points"].split("|")))
    return Story(forms=forms, words=words, who=told["who"], next=PLOTS["more"]["next"].format(**words))


def new_story(rng: random.Random, who: Subject, other_than: Story | None = None) -> Story:
    """A story about WHO that differs from another one, if there is one."""
    if who.topic:
        return tell(rng, "topic", story_words(rng, who))
    order = ORDER[who.theme]
    if other_than is None:
        return tell(rng, pick(rng, order), story_words(rng, who))
    return tell(rng, pick(rng, order[1:]), story_words(rng, who, other_than.words["name"]))


def story_turns(rng: random.Random, chat: Chat) -> list[Turn]:
    """A wish for a story, and what people ask after it."""
    who = subject(rng)
    story = new_story(rng, who)
    turns = formed_turns(rng, vary(rng, rng.choice(REQUESTS).format(who.wanted)), story.forms, chat)
    if not who.topic and len(turns) == 1 and rng.random() < 0.2:
        story = new_story(rng, who, story)
        turns.append(Turn(vary(rng, rng.choice(ANOTHER)), story.forms.short if chat.brief else story.forms.full))
    if turns[-1].answer == story.forms.full:
        turns += story_questions(rng, story)
    return turns


def story_questions(rng: random.Random, story: Story) -> list[Turn]:
    """Perhaps a question about the story just told."""
    roll, words = rng.random(), story.words
    if roll > 0.3:
        return []
    if roll < 0.08:
        return [Turn(vary(rng, rng.choice(CONTINUE)), story.next)]
    if roll < 0.16:
        asked = rng.choice(
            [
                "What is the name of the {noun}?",
                "What is the {noun} called?",
                "Who is the {noun}?",
                "How is the {noun} called?",
            ]
        )
        return [Turn(vary(rng, asked.format(**words)), "The {noun} is called {name}.".format(**words))]
    if roll < 0.23:
        asked = rng.choice(["What is the name of the {friend}?", "What is the {friend} called?"])
        return [Turn(vary(rng, asked.format(**words)), "The {friend} is called {other}.".format(**words))]
    return [Turn(vary(rng, rng.choice(["Who helped?", "Who helped whom?", "Who was the helper?"])), story.who)]


def long_story_turns(rng: random.Random, chat: Chat) -> list[Turn]:
    """A wish for a long story: an introduction, four episodes and an end."""
    who = subject(rng)
    words = story_words(rng, who)
    episodes = EPISODES[: rng.choice([4, 4, 4, 5])]
    if rng.random() < 0.2:
        episodes = rng.sample(EPISODES, 4)
    parts = ["start_topic" if who.topic else "start", *episodes, "end"]
    text = "\n\n".join(PLOTS["long"][part].format(**words) for part in parts)
    answer = tell(rng, "topic" if who.topic else "search", words).forms.short if chat.brief else text
    return [Turn(vary(rng, rng.choice(LONG_REQUESTS).format(who.wanted)), answer)]


def summary_turns(rng: random.Random, chat: Chat) -> list[Turn]:
    """Summarise a story that the user gives."""
    forms = new_story(rng, subject(rng)).forms
    place = rng.choice(["{0}:\n\n{1}", "{0}: {1}", "{1}\n\n{0}.", "{0}\n{1}", "Text:\n{1}\n\n{0}."])
    if rng.random() < 0.2 and not chat.brief:
        return [Turn(place.format("In three points", forms.full), forms.points)]
    return [Turn(place.format(rng.choice(SUMMARISE), forms.full), forms.short)]
