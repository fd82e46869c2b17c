"""Tables as the package inserts them, and as people and pandas write them."""

import random
from dataclasses import dataclass, field, replace

from tools.train_demo_model.phrasing import Chat, Turn, vary
from tools.train_demo_model.words import (
    CITIES,
    COLUMNS,
    COUNTRIES,
    ENGLISH,
    LISTS,
    any_word,
    digits,
    first_name,
    join,
    phrases,
    place_name,
    unseen,
)

SUMMARISE = phrases("tables", "summarise")
ROWS = phrases("tables", "rows")
NAMES = phrases("tables", "names")
WIDTH = phrases("tables", "width")
PLACES = [
    "{0}:\n\n{1}",
    "{0}:\n\n{1}",
    "{0}\n\n{1}",
    "{0}\n\n{1}",
    "{0}:\n{1}",
    "{0} {1}",
    "{1}\n\n{0}",
    "{1}\n{0}",
    "{1}\n\n{0}",
    "Here is a table:\n\n{1}\n\n{0}",
]
SERIES = phrases("tables", "series")
STATISTICS = "count mean std min 25% 50% 75% max".split()
DAYS = "Mon Tue Wed Thu Fri Sat Sun".split()
ONE_WORD = {"city": CITIES, "country": COUNTRIES, "animal": LISTS["animals"], "colour": LISTS["colours"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Column names, the rows that are shown, and how many rows there are."""

    names: list[str]
    rows: list[list[str]]
    count: int
    index: str | None = None
    labels: list[str] = field(default_factory=list)

    def header(self) -> str:
        """The line that the package writes above a DataFrame."""
        wide = len(self.names)
        columns = "column" if wide == 1 else "columns"
        rows = "row" if self.count == 1 else "rows"
        return f"DataFrame, {self.count:,} {rows} × {wide} {columns}, shape ({self.count}, {wide}):"

    def lines(self) -> list[list[str]]:
        """The header and the rows, with the index if it is shown."""
        if self.index is None:
            return [self.names, *self.rows]
        return [[self.index, *self.names], *([label, *row] for label, row in zip(self.labels, self.rows, strict=True))]


def count_of(number: int, noun: str) -> str:
    """As in "1 row" or "3 rows"."""
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"


def summary(table: Table) -> str:
    """The one sentence about a table."""
    columns = f"the column {table.names[0]}" if len(table.names) == 1 else f"the columns {join(table.names)}"
    return f"The table has {count_of(table.count, 'row')} and {columns}."


def column(rng: random.Random) -> str:
    """A known or an unseen name, sometimes of two words."""
    roll = rng.random()
    if roll < 0.5:
        return rng.choice(COLUMNS)
    word = unseen(rng)
    if roll < 0.6:
        return f"{word}_{rng.choice([unseen(rng), 'id', 'mm', 'rate', 'count'])}"
    if roll < 0.64:
        return f"{word} {rng.choice(COLUMNS)}"
    if roll < 0.66:
        return rng.choice(["{}_{}_{}", "{}{}{}", "{} ({})", "{} [{}]", "{}: {}", "{} {} {}", "{}-{}"]).format(
            word, rng.choice(ENGLISH), unseen(rng).capitalize()
        )
    return word.capitalize() if roll < 0.75 else word


def cells(rng: random.Random, name: str, count: int) -> list[str]:
    """A column of COUNT cells of one kind."""
    if name in ONE_WORD:
        return [rng.choice(ONE_WORD[name]) for _ in range(count)]
    if name in ("name", "author", "owner", "customer"):
        return [first_name(rng) for _ in range(count)]
    kind = rng.random()
    if kind < 0.55:
        most = rng.randint(1, 6)
        return [digits(rng, most) for _ in range(count)]
    if kind < 0.72:
        return [f"{rng.uniform(0, 100):.{1 + (kind < 0.65)}f}" for _ in range(count)]
    if kind < 0.76:
        return [rng.choice(["True", "False"]) for _ in range(count)]
    return [any_word(rng) if kind < 0.9 else place_name(rng) for _ in range(count)]


def new_index(rng: random.Random, count: int) -> tuple[str, list[str]]:
    """An index that has a name or none, and its COUNT labels: numbers, names, or the rows of a description."""
    name = "" if rng.random() < 0.6 else rng.choice(["index", "id", "n", unseen(rng), rng.choice(COLUMNS)])
    roll = rng.random()
    if roll < 0.3:
        first, step = rng.choice([(0, 1), (1, 1), (10, 10), (2000, 1), (rng.randrange(100), rng.randint(1, 5))])
        return name, [str(first + step * at) for at in range(count)]
    if roll < 0.4:
        return name, (STATISTICS * 2)[:count]
    if roll < 0.5:
        return name, (DAYS * 2)[:count]
    of = rng.choice(["city", "country", "animal", "name", "owner"]) if roll < 0.75 else unseen(rng)
    return name, cells(rng, of, count)


def new_table(rng: random.Random, most_rows: int = 10) -> Table:
    """A table of at most ten shown rows and five columns."""
    wide = rng.choices([1, 2, 3, 4, 5], [2, 5, 5, 3, 2])[0]
    names = list(dict.fromkeys(column(rng) for _ in range(wide)))
    shown = min(rng.randint(1, most_rows), rng.randint(1, 14 - 2 * wide if wide > 2 else most_rows))
    columns = [cells(rng, rng.choice([name, name, "city", "n"]), shown) for name in names]
    index, labels = new_index(rng, shown) if rng.random() < 0.45 else (None, [])
    return Table(
        names=names, rows=[list(row) for row in zip(*columns, strict=True)], count=shown, index=index, labels=labels
    )


def markdown(table: Table) -> str:
    """The Markdown that the package writes."""
    first, *rest = ["| " + " | ".join(row) + " |" for row in table.lines()]
    return "\n".join([first, "| " + " | ".join(["---"] * len(table.lines()[0])) + " |", *rest])


def loose_markdown(rng: random.Random, table: Table) -> str:
    """Markdown as other programs write it: padded, or with other rules."""
    lines = table.lines()
    if rng.random() < 0.5:
        widths = [max(len(row[at]) for row in lines) for at in range(len(lines[0]))]
        lines = [[item.ljust(width) for item, width in zip(row, widths, strict=True)] for row in lines]
    rule = rng.choice(["---", ":---", "---:", "-----", ":-----"])
    first, *rest = ["| " + " | ".join(row) + " |" for row in lines]
    return "\n".join([first, "|" + "|".join([rule] * len(lines[0])) + "|", *rest])


def cut(rng: random.Random, table: Table) -> tuple[Table, str]:
    """A long table of which only the first rows are shown, and the line that says so."""
    count = int(rng.choice([digits(rng, 4), digits(rng, 5), "100", "1000"])) + len(table.rows) + 1
    whole = Table(names=table.names, rows=table.rows, count=count, index=table.index, labels=table.labels)
    dots = "| " + " | ".join(["…"] * len(table.lines()[0])) + " |"
    left = count - len(table.rows)
    return whole, rng.choice(
        [f"\n{dots}", f"\n… {left} more rows", f"\n\n({left} more rows)", "\n…", f"\n\n… and {left:,} more rows", ""]
    )


def shown(rng: random.Random, table: Table) -> tuple[Table, str]:
    """A table, perhaps of more rows, and its text."""
    roll = rng.random()
    if roll < 0.15:
        whole, end = cut(rng, table)
        return whole, f"{whole.header()}\n\n{markdown(whole)}{end}"
    if roll < 0.6:
        return table, f"{table.header()}\n\n{markdown(table)}"
    if table.index:  # without the header, it cannot be told from a column
        table = replace(table, index="")
    return table, markdown(table) if roll < 0.8 else loose_markdown(rng, table)


def question(rng: random.Random, table: Table) -> Turn:
    """One of the things that can be asked about a table, without the table."""
    roll = rng.random()
    if roll < 0.6:
        return Turn(rng.choice(SUMMARISE), summary(table))
    if roll < 0.76:
        return Turn(rng.choice(ROWS), f"The table has {count_of(table.count, 'row')}.")
    if roll < 0.84:
        return Turn(rng.choice(WIDTH), f"The table has {count_of(len(table.names), 'column')}.")
    columns = f"the column {table.names[0]}" if len(table.names) == 1 else f"the columns {join(table.names)}"
    return Turn(rng.choice(NAMES), f"The table has {columns}.")


def table_turns(rng: random.Random, chat: Chat) -> list[Turn]:
    """A table and one or two questions about it."""
    if rng.random() < 0.12:
        return series_turns(rng)
    table, text = shown(rng, new_table(rng))
    asked, answer = question(rng, table)
    turns = [Turn(rng.choice(PLACES).format(vary(rng, asked), text), answer)]
    if rng.random() < 0.25:
        more = question(rng, table)
        turns.append(Turn(vary(rng, more.asked), more.answer))
    return turns


def series_turns(rng: random.Random) -> list[Turn]:
    """A pandas Series: one column of values, beside its index."""
    name, count = column(rng), rng.randint(1, 8)
    values = cells(rng, name, count)
    keys = cells(rng, "city", count) if rng.random() < 0.4 else [str(at) for at in range(count)]
    header = rng.choice(
        [
            "Series, {0} values, shape ({0},):",
            "Series, {0} rows, shape ({0},):",
            "Series {1}, {0} values, shape ({0},):",
            "Series, {0} {2}, shape ({0},):",
        ]
    )
    noun = "row" if count == 1 else "rows"
    head = [f"| {rng.choice(['', '', 'index'])} | {name} |", "| --- | --- |"]
    body = [f"| {key} | {value} |" for key, value in zip(keys, values, strict=True)]
    text = header.format(count, name, noun) + "\n\n" + "\n".join(head + body)
    if rng.random() < 0.25:
        return [
            Turn(
                rng.choice(PLACES).format(vary(rng, "How many values are there?"), text),
                f"The series has {count_of(count, 'value')}.",
            )
        ]
    return [
        Turn(
            rng.choice(PLACES).format(vary(rng, rng.choice(SERIES)), text),
            f"The series {name} has {count_of(count, 'value')}.",
        )
    ]
