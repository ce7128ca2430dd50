/* The page of `alignpro serve`: a prompt, its rewrite, the answers to both, their rewards. What
 * comes from a server becomes text nodes, never markup. Nothing is stored.
 *
 *     submit ─┬► answer(bare) ───────────────────┬► score
 *             └► rewrite ─► answer(rewritten) ───┴► score
 */
"use strict";

const at = (id) => document.getElementById(id);
const DIFF_CELLS_MAX = 4e6; /* of the table of a word diff; beyond it, all is exchanged */

let facts = {}; /* what /healthz says */
let running = null; /* the AbortController of what is under way */
const rewards = { bare: null, rewritten: null };
let exchanged = false; /* the second answer is to a rewrite indeed */

/* ---- asking ---- */

async function wordsOf(reply) {
    const text = await reply.text().catch(() => "");
    try {
        const said = JSON.parse(text).error;
        return said.message || String(said);
    } catch {
        return text.slice(0, 300) || reply.statusText || "no words";
    }
}

/* The reply, if it is a good one. With a body it is a POST. */
async function ask(path, body, signal, headers = {}) {
    const sent = { ...headers };
    if (at("key").value.trim())
        sent.Authorization = "Bearer " + at("key").value.trim();
    if (body)
        sent["Content-Type"] = "application/json";
    const reply = await fetch(path, {
        method: body ? "POST" : "GET",
        headers: sent,
        body: body && JSON.stringify(body),
        signal,
        cache: "no-store",
        credentials: "omit",
    });
    if (reply.ok)
        return reply;
    if (reply.status === 401)
        at("key-row").hidden = false;
    const error = new Error(`${reply.status}: ${await wordsOf(reply)}`);
    error.status = reply.status;
    throw error;
}

/* The data of server-sent events, as they come. */
async function* events(reply) {
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "", done = false; !done;) {
        const piece = await reader.read();
        done = piece.done;
        const lines = (rest + (done ? "\n" : piece.value)).split(/\r\n|\n|\r/);
        rest = lines.pop();
        for (const line of lines)
            if (line.startsWith("data:"))
                yield line.slice(5).trim();
    }
}

/* Calls add with each piece of the answer; returns why it ended. */
async function readAnswer(reply, add) {
    const type = reply.headers.get("Content-Type") || "";
    if (!type.startsWith("text/event-stream")) {
        const choice = (await reply.json()).choices[0];
        add(choice.message.content || choice.message.refusal || "");
        return choice.finish_reason;
    }
    let finish = null;
    for await (const data of events(reply)) {
        if (data === "[DONE]")
            return finish;
        const event = JSON.parse(data);
        if (event.error)
            throw new Error(event.error.message || "the server broke off");
        const choice = (event.choices || [])[0];
        if (!choice)
            continue;
        add((choice.delta && (choice.delta.content || choice.delta.refusal)) || "");
        finish = choice.finish_reason || finish;
    }
    if (!finish)
        throw new Error("the answer was cut off on its way");
    return finish;
}

/* ---- showing ---- */

const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(2)} s`;
const number = (x) => (x < 0 ? "\u2212" : "") + Math.abs(x).toFixed(3);

function say(id, text) {
    at(id).textContent = text;
    at(id).hidden = text === "";
}

function fail(part, error) {
    if (error.name === "AbortError")
        at(`${part}-meta`).textContent = "stopped";
    else
        say(`${part}-error`, error.message);
}

/* Words, what stands between them, and white space: "fox," and "fox." share the fox. */
const wordsIn = (text) => text.match(/\s+|[\p{L}\p{M}\p{N}_'\u2019]+|[^\s\p{L}\p{M}\p{N}_'\u2019]+/gu) || [];

/* Lengths of longest common subsequences of a's and b's ends, row by row. */
function commonTable(a, b) {
    const wide = b.length + 1;
    const table = new Uint32Array((a.length + 1) * wide);
    for (let i = a.length - 1; i >= 0; i--)
        for (let j = b.length - 1; j >= 0; j--)
            table[i * wide + j] = a[i] === b[j]
                ? table[(i + 1) * wide + j + 1] + 1
                : Math.max(table[(i + 1) * wide + j], table[i * wide + j + 1]);
    return table;
}

/* [["same" | "del" | "ins", text], …] */
function wordDiff(before, after) {
    const a = wordsIn(before), b = wordsIn(after), out = [];
    const put = (kind, word) => {
        if (out.length && out[out.length - 1][0] === kind)
            out[out.length - 1][1] += word;
        else
            out.push([kind, word]);
    };
    if (a.length * b.length > DIFF_CELLS_MAX)
        return [["del", before], ["ins", after]];
    const table = commonTable(a, b), wide = b.length + 1;
    let i = 0, j = 0;
    while (i < a.length || j < b.length) {
        if (i < a.length && j < b.length && a[i] === b[j]) {
            put("same", a[i++]);
            j++;
        } else if (j === b.length || (i < a.length && table[(i + 1) * wide + j] >= table[i * wide + j + 1])) {
            put("del", a[i++]);
        } else {
            put("ins", b[j++]);
        }
    }
    return out;
}

/* Changes word by word with a blank kept between them read badly: white space between two changes
 * belongs to both, and what both end with to neither. */
function joinChanges(parts) {
    const out = [];
    let gone = "", come = "";
    const flush = () => {
        const [blank] = /\s*$/.exec(gone && come ? gone : "");
        const shared = come.endsWith(blank) ? blank : "";
        for (const [kind, text] of [["del", gone], ["ins", come]])
            if (text.length > shared.length)
                out.push([kind, text.slice(0, text.length - shared.length)]);
        if (shared)
            out.push(["same", shared]);
        gone = come = "";
    };
    parts.forEach(([kind, text], k) => {
        const inside = kind === "same" && /^\s+$/.test(text) && (gone || come) && k + 1 < parts.length;
        if (kind === "del" || inside)
            gone += text;
        if (kind === "ins" || inside)
            come += text;
        if (kind === "same" && !inside) {
            flush();
            out.push([kind, text]);
        }
    });
    flush();
    return out;
}

function showDiff(before, after) {
    at("diff").replaceChildren(...joinChanges(wordDiff(before, after)).map(([kind, text]) => {
        const node = document.createElement(kind === "same" ? "span" : kind);
        node.textContent = text;
        return node;
    }));
}

function showRewrite(prompt, text) {
    at("rewrite").textContent = text;
    showDiff(prompt, text);
}

function showReward(side, value) {
    rewards[side] = value;
    at(`${side}-reward`).textContent = value === null ? "n/a" : number(value);
    if (rewards.bare === null || rewards.rewritten === null || !exchanged)
        return;
    const gain = rewards.rewritten - rewards.bare;
    at("gain").textContent = `${gain > 0 ? "+" : ""}${number(gain)} by the rewrite`;
    at("gain").className = "gain " + (gain > 0 ? "more" : gain < 0 ? "less" : "");
}

/* What the second answer is to. */
function showTitle(rewritten) {
    at("rewritten-title").textContent = rewritten ? "Answer to the rewrite" : "Answer to the prompt, not rewritten";
}

function clear() {
    showTitle(facts.rewrite !== "none");
    for (const id of ["rewrite", "diff", "rewrite-meta", "gain"])
        at(id).textContent = "";
    for (const id of ["guard", "rewrite-error"])
        say(id, "");
    for (const side of ["bare", "rewritten"]) {
        at(`${side}-answer`).textContent = at(`${side}-meta`).textContent = "";
        at(`${side}-reward`).textContent = "\u2013";
        say(`${side}-note`, "");
        say(`${side}-error`, "");
        rewards[side] = null;
    }
    exchanged = false;
}

/* ---- the three questions ---- */

async function rewrite(prompt, signal) {
    const began = performance.now();
    if (!facts.model) {
        at("rewrite-meta").textContent = "n/a: this server has no prompter";
        return;
    }
    at("rewrite-card").setAttribute("aria-busy", "true");
    try {
        const got = await (await ask("v1/rewrite", { prompt }, signal)).json();
        showRewrite(prompt, got.rewrite);
        at("rewrite-meta").textContent =
            `${seconds(began)}, ${got.cached ? "remembered" : `${got.n_token} token${got.n_token === 1 ? "" : "s"}`}`;
        if (got.guard)
            say("guard", `The guard \u201c${got.guard}\u201d fired, and the prompt goes on as typed` +
                (got.why ? `: ${got.why}` : "."));
        else if (!got.ended)
            say("guard", "It came to its limit of tokens before its end.");
    } catch (error) {
        fail("rewrite", error);
    } finally {
        at("rewrite-card").setAttribute("aria-busy", "false");
    }
}

async function score(side, prompt, answer, finish, signal) {
    if (!facts.reward) {
        showReward(side, null);
        return;
    }
    try {
        const body = { prompt, answer, ended: finish !== "length" };
        const got = await (await ask("v1/score", body, signal)).json();
        showReward(side, got.score);
    } catch (error) {
        showReward(side, null);
        fail(side, error);
    }
}

function requestOf(prompt) {
    const body = { messages: [{ role: "user", content: prompt }], stream: true };
    if (at("model").value)
        body.model = at("model").value;
    for (const [id, key] of [["temperature", "temperature"], ["max-tokens", "max_tokens"], ["seed", "seed"]])
        if (at(id).value !== "")
            body[key] = Number(at(id).value);
    return body;
}

/* What became of the prompt on its way, where it is not what the page shows already. */
function noteMark(reply, prompt) {
    const mark = reply.headers.get("x-alignpro");
    const encoded = reply.headers.get("x-alignpro-rewrite");
    const notes = {
        unchanged: "The prompt went on as typed.",
        bypassed: "The prompt went on as typed: this server rewrites nothing.",
        "fell-back": "The prompt went on as typed: no rewrite was there in time.",
    };
    say("rewritten-note", notes[mark] || "");
    exchanged = mark === "rewritten";
    showTitle(exchanged);
    if (!exchanged || !encoded)
        return;
    const sent = decodeURIComponent(encoded); /* a long one is cut */
    if (at("rewrite").textContent.startsWith(sent))
        return;
    showRewrite(prompt, sent);
    say("rewritten-note", "Rewritten anew for this answer; shown is the rewrite that it answers.");
}

async function answer(side, prompt, signal) {
    const off = side === "bare", began = performance.now();
    let first = null, text = "";
    const node = document.createTextNode("");
    at(`${side}-answer`).replaceChildren(node);
    at(`${side}-card`).setAttribute("aria-busy", "true");
    try {
        const reply = await ask("v1/chat/completions", requestOf(prompt), signal,
            { "x-alignpro": off ? "off" : "show" });
        if (!off)
            noteMark(reply, prompt);
        const finish = await readAnswer(reply, (piece) => {
            first = first || (piece && seconds(began));
            text += piece;
            node.appendData(piece);
        });
        at(`${side}-meta`).textContent = `${seconds(began)}, first word after ${first || "\u2013"}`;
        if (finish === "length")
            at(`${side}-meta`).textContent += ", cut at its limit";
        else if (finish === "content_filter")
            at(`${side}-meta`).textContent += ", refused";
        at(`${side}-card`).setAttribute("aria-busy", "false");
        await score(side, prompt, text, finish, signal);
    } catch (error) {
        fail(side, error);
    } finally {
        at(`${side}-card`).setAttribute("aria-busy", "false");
    }
}

/* ---- a run ---- */

async function run(prompt, signal) {
    const answers = facts.upstream || facts.target;
    if (!answers)
        for (const side of ["bare", "rewritten"])
            at(`${side}-meta`).textContent = "n/a: this server only rewrites";
    await Promise.all([
        answers ? answer("bare", prompt, signal) : null,
        rewrite(prompt, signal).then(() =>
            answers && !signal.aborted ? answer("rewritten", prompt, signal) : null),
    ]);
}

async function submit() {
    if (running) {
        running.abort();
        return;
    }
    const began = performance.now(), here = new AbortController();
    running = here;
    clear();
    at("form").noValidate = true; /* an empty prompt must not keep it from stopping */
    at("run").textContent = "Stop";
    at("run").classList.add("stops");
    at("status").textContent = "Asking \u2026";
    await learn(here.signal);
    await run(at("prompt").value, here.signal);
    const failed = document.querySelector(".error:not([hidden])");
    at("status").textContent = here.signal.aborted ? "Stopped."
        : failed ? "Not all of it was answered." : `Done in ${seconds(began)}.`;
    at("run").textContent = "Rewrite and answer";
    at("run").classList.remove("stops");
    at("form").noValidate = false;
    running = null;
}

/* ---- the server ---- */

function showFacts() {
    const parts = [facts.model ? `prompter ${facts.model}` : "no prompter"];
    parts.push(facts.upstream ? "answers from the upstream"
        : facts.target ? `answers from ${facts.target}` : "no answers");
    parts.push(facts.reward ? `reward ${facts.reward}` : "no reward");
    at("facts").textContent = parts.join(" \u00b7 ");
    if (!running)
        showTitle(facts.rewrite !== "none");
}

/* What the server has; its models once it takes the key. */
async function learn(signal) {
    try {
        facts = await (await ask("healthz", null, signal)).json();
        showFacts();
        if (at("models").children.length > 0 || !(facts.upstream || facts.target))
            return;
        const models = (await (await ask("v1/models", null, signal)).json()).data || [];
        at("models").replaceChildren(...models.map((model) => {
            const option = document.createElement("option");
            option.value = model.id;
            return option;
        }));
        if (!at("model").value && models.length > 0)
            at("model").value = models[0].id;
    } catch (error) {
        if (error.status === 401)
            at("status").textContent = "This server asks for a key.";
        else if (error.name !== "AbortError" && !facts.status)
            at("facts").textContent = `the server does not answer: ${error.message}`;
    }
}

at("form").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
});
at("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
        event.preventDefault();
        at("form").requestSubmit();
    }
});
learn();
