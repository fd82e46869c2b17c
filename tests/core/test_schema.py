import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from typing import Any, get_args

import jsonschema
import pytest

from localllm_magics.core import completion, errors
from localllm_magics.core.completion import Completion, EngineName, FinalState, FinishReason
from localllm_magics.core.errors import LocalLLMError, StreamBroken
from localllm_magics.core.sampling import MAX_SEED, SAMPLING_OPTIONS, SamplingOption
from localllm_magics.testing import scripted_model
from tests.core.test_completion import DONE, FAILED

SCHEMA: dict[str, Any] = json.loads(files("localllm_magics.core").joinpath("completion.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
# Readers do without these, which documents of the first release of version 1 do not have.
OPTIONAL = {"notices", "value"}


def complaints(document: object, validator: jsonschema.Draft202012Validator = VALIDATOR) -> list[str]:
    return [error.message for error in validator.iter_errors(document)]


def strict_object(schema: dict[str, Any]) -> dict[str, Any]:
    """SCHEMA for a writer: with all properties that it describes, and no others."""
    values = {name: strict(value) for name, value in schema.items()}
    if is_object(schema):
        values |= {"required": list(schema["properties"]), "additionalProperties": False}
    return values


def strict(schema: object) -> object:
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    return strict_object(schema) if isinstance(schema, dict) else schema


def is_object(schema: object) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "object" and "properties" in schema


STRICT = jsonschema.Draft202012Validator(strict_object(SCHEMA))


def scripted(*answers: str | LocalLLMError, hangs_after: int | None = None, max_tokens: int = 9) -> Completion:
    with (
        scripted_model(*answers, hangs_after=hangs_after) as model,
        model.stream("Why?", max_tokens=max_tokens, seed=1) as stream,
    ):
        if hangs_after is not None:
            stream.stop()
        stream.wait()
    made = stream.generation.completion
    assert made is not None
    return made


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda: DONE, "stop", id="by hand"),
        pytest.param(lambda: FAILED, "error", id="failed by hand"),
        pytest.param(lambda: scripted("So it is."), "stop", id="done"),
        pytest.param(lambda: scripted("one two three", max_tokens=2), "length", id="length"),
        pytest.param(lambda: scripted("one two three", hangs_after=1), "stopped", id="stopped"),
        pytest.param(lambda: scripted(StreamBroken("Gone.", "Again.")), "error", id="failed"),
    ],
)
def test_completions_are_valid(make: Callable[[], Completion], reason: str) -> None:
    made = make()

    assert complaints(made.to_json()) == []
    assert complaints(json.loads(json.dumps(made.to_json())), STRICT) == []
    assert made.finish_reason == reason


def objects(schema: object) -> list[dict[str, Any]]:
    """All schemas of objects in SCHEMA, at any depth."""
    if isinstance(schema, list):
        return [found for item in schema for found in objects(item)]
    if not isinstance(schema, dict):
        return []
    mine = [schema] if is_object(schema) else []
    return mine + [found for item in schema.values() for found in objects(item)]


@pytest.mark.parametrize("schema", objects(SCHEMA), ids=lambda schema: schema.get("title") or len(str(schema)))
def test_objects_are_open_complete_and_described(schema: dict[str, Any]) -> None:
    undescribed = [name for name, of in schema["properties"].items() if "description" not in of and "$ref" not in of]

    assert "additionalProperties" not in schema
    assert set(schema["required"]) | OPTIONAL == set(schema["properties"]) | OPTIONAL
    assert undescribed == []


def test_the_schema_knows_the_words_of_the_code() -> None:
    properties = SCHEMA["properties"]

    assert properties["state"]["enum"] == list(get_args(FinalState))
    assert properties["finish_reason"]["enum"] == list(get_args(FinishReason))
    assert SCHEMA["$defs"]["model"]["properties"]["engine"]["enum"] == [*get_args(EngineName), None]
    assert completion.MIME_TYPE in SCHEMA["description"]


def to_property(option: SamplingOption) -> dict[str, object]:
    """What the schema says of OPTION, without its description."""
    if option.type is str:
        return {"type": "array", "items": {"type": "string", "minLength": 1}}
    limits = {"minimum": option.low, "maximum": option.high}
    finite = {name: limit for name, limit in limits.items() if math.isfinite(limit)}
    return {"type": ["integer" if option.type is int else "number", "null"], **finite}


def test_sampling_options_are_those_of_the_table() -> None:
    properties = copy.deepcopy(SCHEMA["$defs"]["sampling"]["properties"])
    for of in properties.values():
        del of["description"]

    assert properties == {option.name: to_property(option) for option in SAMPLING_OPTIONS}


@pytest.mark.parametrize("value", [None, 1, "text", [1], {"name": "Ada", "age": 36}])
def test_a_value_is_any_json(value: object) -> None:
    assert complaints(replace(DONE, value=value, notices=("Mind the gap.",)).to_json(), STRICT) == []


def test_the_kind_of_each_error_is_valid() -> None:
    kinds = [thing("x").kind for thing in vars(errors).values() if isinstance(thing, type)]
    documents = [{**FAILED.to_json(), "error": {"kind": kind, "message": "x", "hint": ""}} for kind in kinds]

    assert [complaint for document in documents for complaint in complaints(document)] == []


def put(value: object, *path: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


def drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change


ERROR = {"kind": "bad_option", "message": "x", "hint": ""}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(put(2, "version"), id="version"),
        pytest.param(put("", "id"), id="empty id"),
        pytest.param(put(None, "text"), id="no text"),
        pytest.param(put("pending", "state"), id="state"),
        pytest.param(put("stopped", "state"), id="state against reason"),
        pytest.param(put("error", "finish_reason"), id="reason against state"),
        pytest.param(put(ERROR, "error"), id="error though done"),
        pytest.param(drop("error"), id="error missing"),
        pytest.param(put("robot", "model", "engine"), id="engine"),
        pytest.param(put(-1, "model", "gpu_layers"), id="layers"),
        pytest.param(put("6", "model", "layers"), id="layers as text"),
        pytest.param(drop("model", "device"), id="device missing"),
        pytest.param(put("a notice", "notices"), id="notices as text"),
        pytest.param(put([1], "notices"), id="notice as number"),
        pytest.param(put(-0.1, "stats", "ttft_seconds"), id="seconds"),
        pytest.param(put(1.5, "stats", "completion_tokens"), id="half a token"),
        pytest.param(put("no", "stats", "estimated"), id="estimated"),
        pytest.param(put(-1, "sampling", "temperature"), id="temperature"),
        pytest.param(put(1.1, "sampling", "top_p"), id="top_p"),
        pytest.param(put(0, "sampling", "repeat_penalty"), id="repeat penalty"),
        pytest.param(put(MAX_SEED + 1, "sampling", "seed"), id="seed"),
        pytest.param(put(0, "sampling", "max_tokens"), id="max tokens"),
        pytest.param(put([""], "sampling", "stop"), id="empty stop"),
        pytest.param(put("END", "sampling", "stop"), id="stop as text"),
        pytest.param(put("", "versions", "localllm_magics"), id="no version"),
    ],
)
def test_a_changed_document_is_not_valid(change: Callable[[dict[str, Any]], None]) -> None:
    document: dict[str, Any] = copy.deepcopy(dict(DONE.to_json()))

    change(document)

    assert complaints(document) != []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(put("x", "colour"), id="unknown"),
        pytest.param(put("x", "model", "colour"), id="unknown of the model"),
        pytest.param(put("", "error", "trace"), id="unknown of the error"),
        pytest.param(drop("notices"), id="no notices"),
        pytest.param(drop("value"), id="no value"),
    ],
)
def test_a_reader_accepts_more_keys_and_fewer(change: Callable[[dict[str, Any]], None]) -> None:
    document: dict[str, Any] = copy.deepcopy(dict(FAILED.to_json()))

    change(document)

    assert complaints(document) == []
    assert complaints(document, STRICT) != []


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(None, id="none"),
        pytest.param({**ERROR, "kind": "Bad Option"}, id="kind"),
        pytest.param({"kind": "bad_option", "message": "x"}, id="no hint"),
    ],
)
def test_a_failed_document_needs_its_error(error: object) -> None:
    assert complaints({**FAILED.to_json(), "error": error}) != []
