"""Greetings, jokes, refusals, and what the user tells about themselves."""

import random

from tools.train_demo_model.phrasing import ANOTHER, Chat, Turn, vary
from tools.train_demo_model.words import (
    ADJECTIVES,
    CITIES,
    COUNTRIES,
    DATA,
    JOKES,
    LISTS,
    PET_NAMES,
    PETS,
    any_word,
    article,
    digits,
    first_name,
    phrase_groups,
    phrases,
    pick,
    place_name,
    unseen,
    worded,
)

REFUSAL = (
    "I am a tiny demonstration model and I cannot answer that. Load a larger model with `%llm load path/to/model.gguf`."
)
REFUSED = (DATA / "refused.txt").read_text(encoding="utf-8").splitlines()
SMALL_TALK = [
    ("Hello|Hi|Hello!|Hi there|Hey|Good morning|Good evening|Hello there!|Hi!|hey there|Good afternoon|Hello demo|Hi demo!|hello|Good day|Hello, model|<hi/hey/hello/yo/hiho/hallo/howdy/greetings/moin> <there/demo/you/model/again/everybody/friend/little one/><!/./?/, how nice/ :-)/!!/>|Good <morning/afternoon/evening/day><!/./, demo/, model/ everyone/ there/>|<Nice/Glad/Pleased> to meet you<!/./>|<hi/hello>, <I am new here/can we talk/anybody there/anyone home><?/!/>",
     "Hello! Ask me about localllm-magics, or ask for a story."),
    ("Thanks|Thank you|Thank you!|Thanks a lot|Great, thanks|Cool, thank you|Thanks for your help|Thank you very much|Perfect, thanks|Nice, thank you|<thanks/thank you/many thanks/cheers/ty/merci/much appreciated> <so much/a lot/demo/for that/for the answer/that helped/><!/./ :-)/>|<ok/great/good/super/alright>, <thanks/thank you><!/./>",
     "You are welcome!"),
    ("Bye|Goodbye|See you|Good night|Bye bye|See you later|Goodbye!|Until tomorrow|That is all, bye|<bye/cu/see you/goodbye/good night/farewell/ciao> <then/demo/soon/for now/tomorrow/><!/./>", "Goodbye!"),
    ("How are you?|How do you do?|How is it going?|Are you fine?|How are you today?|How are you doing?|Are you well?|What's up?|how <are you/is it going/are things/do you feel/r u> <now/today/demo/><?/>",
     "I am fine, as far as a tiny model can be."),
    ("Are you a robot?|Are you human?|Are you a person?|Are you alive?|Do you have feelings?|Are you conscious?|Do you think?",
     "I am a computer program, a tiny demonstration model."),
    ("Say something|Say anything|Test|This is a test|Are you there?|Is this working?|ping|Does it work?|Can you hear me?|Are you ready?|test|<testing/test test/1 2 3/are you there/is anybody there/does this work/are you awake/can you read this><?/./>",
     "It works: the demo model is loaded and answers."),
    ("Well done|Good job|Nice|Great|Wow|Cool|Ok|Interesting|That is good|I like it|You are great|Very good", "I am glad to hear that."),
]  # fmt: skip
JOKE_ASKED = phrases("smalltalk", "joke_asked")
TOLD = phrase_groups("smalltalk", "told")
REPLY = {
    "name": "Hello, {}! Nice to meet you.", "pet": "{} is a nice name for a {pet}.", "city": "{} is a nice place to live.",
    "colour": "I will remember that you like {}.", "age": "{} is a good age.",
}  # fmt: skip
RECALLED = {
    "name": "Your name is {}.", "pet": "Your {pet} is called {}.", "city": "You live in {}.",
    "colour": "Your favourite colour is {}.", "age": "You are {} years old.",
}  # fmt: skip
MISSING = {
    "name": "You have not told me your name.", "pet": "You have not told me about your pet.", "city": "You have not told me where you live.",
    "colour": "You have not told me your favourite colour.", "age": "You have not told me your age.",
}  # fmt: skip
RECALL = phrase_groups("smalltalk", "recall")


def chat_turns(rng: random.Random, _chat: Chat) -> list[Turn]:
    """A greeting or a word of thanks."""
    asked, answer = rng.choice(SMALL_TALK)
    text = worded(rng, asked.split("|"))
    return [Turn(text.lower().rstrip(".!") if rng.random() < 0.2 else text, answer)]


def joke_turns(rng: random.Random, _chat: Chat) -> list[Turn]:
    """A joke, perhaps two."""
    first = pick(rng, JOKES)
    turns = [Turn(vary(rng, rng.choice(JOKE_ASKED)), first)]
    if rng.random() < 0.4:
        turns.append(Turn(rng.choice(ANOTHER), JOKES[(JOKES.index(first) + 1) % len(JOKES)]))
    return turns


def refusal_turns(rng: random.Random, _chat: Chat) -> list[Turn]:
    """Something that a tiny model cannot do."""
    word = any_word(rng)
    asked = worded(rng, REFUSED).format(
        C=rng.choice(COUNTRIES) if rng.random() < 0.5 else unseen(rng).capitalize(), T=unseen(rng).capitalize(), w=word,
        v=any_word(rng), a=article(word), c=place_name(rng), d=rng.choice(CITIES), n=first_name(rng), j=rng.choice(ADJECTIVES), y=digits(rng),
    )  # fmt: skip
    return [Turn(vary(rng, asked), REFUSAL)]


def told_value(rng: random.Random, topic: str) -> str:
    """A value of what the user tells."""
    if topic == "name":
        return first_name(rng)
    if topic == "pet":
        return rng.choice(PET_NAMES) if rng.random() < 0.4 else unseen(rng).capitalize()
    return {"city": place_name(rng), "colour": rng.choice(LISTS["colours"]), "age": str(rng.randint(5, 99))}[topic]


def told_turns(rng: random.Random, chat: Chat) -> list[Turn]:
    """The user says something about themselves."""
    topic = rng.choice(["name", "name", "name", "pet", "pet", "city", "colour", "age"])
    value = told_value(rng, topic)
    pet = rng.choice(PETS)
    if topic == "pet":
        chat.pet = pet
    chat.told[topic] = RECALLED[topic].format(value, pet=pet)
    return [Turn(rng.choice(TOLD[topic]).format(value, pet=pet), REPLY[topic].format(value, pet=pet))]


def recall_turns(rng: random.Random, chat: Chat) -> list[Turn]:
    """The user asks for something that they said, or did not say."""
    topic = rng.choice(list(chat.told) if chat.told and rng.random() < 0.85 else list(RECALL))
    asked = rng.choice(RECALL[topic]).format(pet=chat.pet or rng.choice(PETS))
    return [Turn(vary(rng, asked), chat.told.get(topic, MISSING[topic]))]
