"""The training text: random conversations.

python conversation.py [COUNT] [SEED]    prints COUNT conversations
"""

import random
import sys
from collections.abc import Callable, Mapping
from typing import TypedDict

from tools.train_demo_model.exercises import (
    count_turns,
    echo_turns,
    greet_turns,
    list_turns,
    long_count_turns,
    sum_turns,
)
from tools.train_demo_model.knowledge import FACTS, fact_turns, self_turns
from tools.train_demo_model.objects import json_turns
from tools.train_demo_model.phrasing import Chat, Turn
from tools.train_demo_model.smalltalk import chat_turns, joke_turns, recall_turns, refusal_turns, told_turns
from tools.train_demo_model.stories import long_story_turns, new_story, story_turns, subject, summary_turns
from tools.train_demo_model.tables import table_turns
from tools.train_demo_model.words import seeded

Task = Callable[[random.Random, Chat], list[Turn]]

TASKS: dict[Task, float] = {
    fact_turns: 36, self_turns: 3, story_turns: 10, long_story_turns: 1.3, summary_turns: 1.2, json_turns: 10, table_turns: 15,
    refusal_turns: 9, echo_turns: 14, told_turns: 9, list_turns: 4, greet_turns: 4, sum_turns: 4, count_turns: 2.5, long_count_turns: 0.5,
    chat_turns: 3.5, joke_turns: 0.8,
}  # fmt: skip
# The second part of the training: more of what needs the most practice.
LATER = TASKS | {
    list_turns: 10,
    json_turns: 20,
    refusal_turns: 12,
    sum_turns: 6,
    story_turns: 8,
    told_turns: 7,
    chat_turns: 2.5,
}
# Training a finished model on: more of what people ask in their own words.
WIDER = TASKS | {
    fact_turns: 50,
    self_turns: 6,
    refusal_turns: 17,
    chat_turns: 10,
    table_turns: 20,
    list_turns: 6,
    json_turns: 13,
}
# Their answers nearly fill the context: no second turn.
ALONE = {long_story_turns, long_count_turns}
SYSTEM = {
    "plain": [
        "You are a helpful assistant.",
        "You are a friendly assistant.",
        "You answer questions.",
        "Be helpful.",
        "You are a teacher.",
    ],
    "brief": [
        "Answer in one sentence.",
        "You answer in one sentence.",
        "Always answer in one sentence.",
        "Be brief.",
        "Keep it short.",
        "Be concise.",
    ],
    "pirate": [
        "You are a pirate.",
        "Talk like a pirate.",
        "Answer as a pirate.",
        "You are a pirate captain.",
        "Answer like a pirate.",
    ],
}


class Message(TypedDict):
    """One message of a chat API."""

    role: str
    content: str


def turns_of(rng: random.Random, chat: Chat, tasks: Mapping[Task, float]) -> list[Turn]:
    """The requests and answers of one conversation."""
    task = rng.choices(list(tasks), list(tasks.values()))[0]
    turns = task(rng, chat)
    if task in ALONE:
        return turns
    for _ in range(rng.choice([0, 0, 0, 0, 1, 1, 2, 3])):
        if (chat.told and rng.random() < 0.5) or rng.random() < 0.01:
            turns += recall_turns(rng, chat)
        else:
            others = {task: weight for task, weight in tasks.items() if task not in ALONE}
            turns += rng.choices(list(others), list(others.values()))[0](rng, chat)
    if chat.told and rng.random() < 0.6:
        turns += recall_turns(rng, chat)
    return turns


def pirate(answer: str) -> str:
    """ANSWER as a pirate says it: lists go on a line of their own, and JSON stays JSON."""
    if answer[0] in '{["':
        return answer
    return f"Arrr!\n{answer}" if answer.startswith("- ") else f"Arrr! {answer}"


def conversation(rng: random.Random, tasks: Mapping[Task, float] = TASKS) -> list[Message]:
    """A list of messages, as in a chat API."""
    style = rng.choices([None, *SYSTEM], [76, 12, 6, 6])[0]
    messages = [Message(role="system", content=rng.choice(SYSTEM[style]))] if style else []
    for asked, answer in turns_of(rng, Chat(brief=style == "brief"), tasks):
        said = pirate(answer) if style == "pirate" else answer
        messages += [Message(role="user", content=asked), Message(role="assistant", content=said)]
    return messages


def plain_text(rng: random.Random) -> str:
    """A story or a fact as it could stand on a page."""
    if rng.random() < 0.7:
        return new_story(rng, subject(rng)).forms.full
    return rng.choice(FACTS).forms.full


def main() -> None:
    """Print some conversations."""
    count, seed = [int(arg) for arg in sys.argv[1:3]] + [5, 0][len(sys.argv) - 1 :]
    rng = seeded(seed)
    for _ in range(count):
        for message in conversation(rng):
            print(f"[{message['role']}] {message['content']}")
        print()


if __name__ == "__main__":
    main()
