import assert from "node:assert/strict";
import { test } from "node:test";
import { COMMANDS, isRow, isStatus, toAnswer } from "../../localllm_magics/widgets/protocol.js";
import { MESSAGES } from "./fixtures.mjs";

const GUARDS = /** @type {const} */ ({
  commands: (/** @type {unknown} */ message) => Object.values(COMMANDS).some((guard) => guard(message)),
  answers: (/** @type {unknown} */ message) => toAnswer(message) !== null,
  rows: isRow,
  statuses: isStatus,
});

for (const name of /** @type {const} */ (["commands", "answers", "rows", "statuses"])) {
  test(`${name} are known`, () => {
    assert.deepEqual(MESSAGES[name].filter((message) => !GUARDS[name](message)), []);
    assert.notEqual(MESSAGES[name].length, 0);
  });

  test(`wrong ${name} are refused`, () => {
    const wrong = MESSAGES.wrong[name] ?? [];
    assert.deepEqual(wrong.filter((message) => GUARDS[name](message)), []);
    assert.notEqual(wrong.length, 0);
  });
}

test("every kind of command is among the messages", () => {
  const kinds = Object.entries(COMMANDS).filter(([, guard]) => MESSAGES.commands.some(guard));
  assert.deepEqual(kinds.map(([kind]) => kind), Object.keys(COMMANDS));
});
