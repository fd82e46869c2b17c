import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { Plans } from "../../localllm_magics/widgets/plans.js";
import { COMMANDS } from "../../localllm_magics/widgets/protocol.js";
import { planned, row } from "./fixtures.mjs";

/** @typedef {import("../../localllm_magics/widgets/plans.js").Choice} Choice */

const MODEL = row({ context: 9000, layers: 39 });

/** A kernel that plans at once, or fails, and keeps what it was asked. */
class FakeKernel {
  /** @type {any[]} */
  asked = [];
  problem = "";

  /** @param {any} command */
  send(command) {
    const id = String(this.asked.push({ ...command, id: "x" }));
    const make = (/** @type {object} */ options) => ({ ...planned(stripped(options)), exact: command.exact });
    /** @type {any} */
    const answer = this.problem
      ? { kind: "failed", id, message: this.problem, hint: "", can_force: false }
      : { kind: "done", id, notices: [], plans: (command.options ?? []).map(make) };
    return { id, ending: Promise.resolve(answer) };
  }
}

/** @param {object} options */
function stripped(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null));
}

/** Plans that were chosen on a machine with a GPU, what they have shown, and time. */
async function chosen(problem = "") {
  mock.timers.enable({ apis: ["setTimeout"] });
  const kernel = new FakeKernel();
  kernel.problem = problem;
  /** @type {(Choice | null)[]} */
  const shown = [];
  // @ts-expect-error -- it sends as the real one does, and has nothing else
  const plans = new Plans(kernel, (choice) => shown.push(choice), new AbortController().signal);
  await plans.choose(MODEL, ["CUDA0"]);
  const rest = async () => {
    mock.timers.tick(400);
    for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
  };
  return { kernel, plans, rest, last: () => /** @type {Choice} */ (shown.at(-1)) };
}

test.afterEach(() => mock.timers.reset());

test("a chosen model has a plan from the header, and its corners", async () => {
  const { kernel, last } = await chosen();

  assert.equal(last().plan.settings.context, 1000);
  assert.equal(last().plan.exact, false);
  assert.deepEqual(last().range, { context: [512, 9000], gpu_layers: [0, 40], cpu_moe: [0, 0] });
  assert.deepEqual(kernel.asked.map(({ options }) => options.length), [1, 4]);
  assert.ok(kernel.asked.every(COMMANDS.plan));
});

test("a slider shows at once what lies between the corners", async () => {
  const { plans, last } = await chosen();
  plans.set({ gpu_layers: 10 });
  plans.set({ context: 3072 });

  assert.deepEqual(last().plan.uses.map(({ kv_cache }) => kv_cache), [2304, 768]);
  assert.deepEqual(last().options, { context: 3072, gpu_layers: 10, cpu_moe: null, kv_type: null });
});

test("the engine is asked when the settings rest, and then for the corners", async () => {
  const { kernel, plans, rest, last } = await chosen();
  plans.set({ gpu_layers: 10 });
  plans.set({ gpu_layers: 11 });
  await rest();

  const exact = kernel.asked.filter((command) => command.exact);
  assert.deepEqual(exact.map(({ options }) => options.length), [1, 4]);
  assert.equal(exact[0].options[0].gpu_layers, 11);
  assert.equal(last().plan.exact, true);
  assert.equal(last().isAsking, false);
});

test("settings that change while the engine is asked end the question", async () => {
  const { kernel, plans, last } = await chosen();
  mock.timers.tick(400);
  plans.set({ gpu_layers: 3 });
  await Promise.resolve();

  assert.deepEqual(kernel.asked.at(-1), { kind: "cancel", target: "3", id: "x" });
  assert.equal(last().plan.settings.gpu_layers, 3);
  assert.equal(last().plan.exact, false);
});

test("another type of cache has corners of its own", async () => {
  const { kernel, plans, rest } = await chosen();
  plans.set({ kv_type: "q8_0" });
  await rest();

  const asked = kernel.asked.find((command) => command.options?.length === 4 && command.options[0].kv_type === "q8_0");
  assert.notEqual(asked, undefined);
});

test("the defaults come back", async () => {
  const { plans, last } = await chosen();
  plans.set({ gpu_layers: 10 });
  plans.reset();

  assert.equal(last().plan.settings.gpu_layers, 0);
  assert.equal(last().options.gpu_layers, null);
});

test("a plan that fails says why", async () => {
  const { last } = await chosen("The file is gone.");

  assert.equal(last().problem, "The file is gone.");
  assert.deepEqual(last().plan.uses, []);
});

test("nothing is asked for a model that cannot be read", async () => {
  const { kernel, plans } = await chosen();
  kernel.asked.length = 0;
  await plans.choose(row({ problem: "The file is empty." }), []);

  assert.deepEqual(kernel.asked, []);
});
