#!/usr/bin/env python3
"""The openai package and curl, unchanged, against `alignpro serve`.

    check_openai_client.py --alignpro BIN [--demo FOLDER] [--keep FOLDER]

Before llama-cpp-python's server (the demo's target), with the run's own target, with keys, and before an upstream of this
file's own that writes down what reaches it, refuses and stalls. FOLDER is what `alignpro demo --dir FOLDER` left; without
it a shorter demo is made first. Prints a line a check; the exit code is 1 when one fails. Needs openai and
llama-cpp-python with its server; curl is skipped where it is absent.
"""

import argparse
import asyncio
import contextlib
import http.server
import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse

import openai
from http_peers import alignpro_serve, failed, llama_server, post, prepared, report, run

PROMPT = "the fox, food?"
OFF, SHOW = {"x-alignpro": "off"}, {"x-alignpro": "show"}
GREEDY = {"model": "guide", "temperature": 0, "max_tokens": 40}


def client_of(url, key="none", **more):
    return openai.OpenAI(base_url=url + "/v1", api_key=key, **{"max_retries": 0, "timeout": 60, **more})


def user(text):
    return [{"role": "user", "content": text}]


def text_of(reply):
    return reply.choices[0].message.content


def refused(kind, call, what, words=""):
    """call raises that exception of openai's, with the server's words."""
    try:
        got = call()
    except kind as error:
        return report(words in str(error), what, f"{type(error).__name__}: {str(error)!r:.70}")
    except Exception as error:
        return report(False, what, f"{type(error).__name__}: {error}")
    return report(False, what, f"no {kind.__name__} but {got}")


def same(what, got, expected):
    return report(got == expected, what, repr(got)[:70] if got == expected else f"{got!r}, expected {expected!r}")


# ---- what any of them must do ----


def check_chat(where, client, direct, rewrite):
    """direct(text): the target's own greedy answer; rewrite: what the prompter makes of PROMPT."""
    chat = client.chat.completions
    same(f"{where}: chat is answered as the rewrite", text_of(chat.create(messages=user(PROMPT), **GREEDY)), direct(rewrite))
    same(f"{where}: off by header", text_of(chat.create(messages=user(PROMPT), extra_headers=OFF, **GREEDY)), direct(PROMPT))
    same(f"{where}: off by field", text_of(chat.create(messages=user(PROMPT), extra_body=OFF, **GREEDY)), direct(PROMPT))
    shown = chat.with_raw_response.create(messages=user(PROMPT), extra_headers=SHOW, **GREEDY)
    same(f"{where}: show, header", urllib.parse.unquote(shown.headers.get("x-alignpro-rewrite", "")), rewrite)
    same(f"{where}: show, field", shown.parse().model_extra["x_alignpro"]["rewrites"][0]["rewrite"], rewrite)
    chunks = list(chat.create(messages=user(PROMPT), stream=True, **GREEDY))
    same(f"{where}: stream", "".join(c.choices[0].delta.content or "" for c in chunks if c.choices), direct(rewrite))
    same(f"{where}: stream ends", [c.choices[0].finish_reason for c in chunks if c.choices][-1], "stop")
    cut = chat.create(messages=user(PROMPT), **{**GREEDY, "max_tokens": 3})
    same(f"{where}: max_tokens", (cut.choices[0].finish_reason, cut.usage.completion_tokens), ("length", 3))
    stop = chat.create(messages=user(PROMPT), stop=["."], **GREEDY)
    same(f"{where}: stop", text_of(stop), direct(rewrite).split(".")[0])
    drawn = [text_of(chat.create(messages=user(PROMPT), seed=seed, **{**GREEDY, "temperature": 3.0})) for seed in (5, 5, 6)]
    report(drawn[0] == drawn[1] != drawn[2], f"{where}: seed", repr(drawn)[:70])
    whole = client.completions.create(prompt=PROMPT, extra_headers=SHOW, **GREEDY)
    report(whole.object == "text_completion" and whole.choices[0].text != "", f"{where}: completions",
           repr(whole.choices[0].text)[:70])
    many = asyncio.run(at_once(client, 32))
    same(f"{where}: 32 at once", set(many), {direct(rewrite)})


async def at_once(client, n):
    async with openai.AsyncOpenAI(base_url=str(client.base_url), api_key=client.api_key, max_retries=0) as many:
        replies = await asyncio.gather(*(many.chat.completions.create(messages=user(PROMPT), **GREEDY) for _ in range(n)))
    return [text_of(reply) for reply in replies]


def check_local(args):
    with alignpro_serve(args, "--local-target") as url, client_of(url) as client:
        create = client.chat.completions.create
        rewrite = post(url + "/v1/rewrite", {"prompt": PROMPT})["rewrite"]

        def direct(text):
            return text_of(create(messages=user(text), extra_headers=OFF, **GREEDY))

        check_chat("local target", client, direct, rewrite)
        same("local target: models", [m.id for m in client.models.list()], ["target"])
        three = create(messages=user(PROMPT), n=3, **{**GREEDY, "temperature": 3.0})
        report([c.index for c in three.choices] == [0, 1, 2] and len({c.message.content for c in three.choices}) > 1,
               "local target: n", f"{three.usage.completion_tokens} tokens")
        two = client.completions.create(prompt=[PROMPT, "the owl"], **GREEDY)
        same("local target: prompts of a completion", [c.index for c in two.choices], [0, 1])
        last = list(create(messages=user(PROMPT), stream=True, stream_options={"include_usage": True}, **GREEDY))[-1]
        report(last.usage is not None and last.usage.completion_tokens > 0, "local target: usage in the stream",
               str(last.usage)[:70])
        for field, value in (("logprobs", True), ("tools", [{"type": "function", "function": {"name": "f"}}]),
                             ("response_format", {"type": "json_object"}), ("presence_penalty", 1.0)):
            refused(openai.BadRequestError, lambda: create(messages=user(PROMPT), **GREEDY, **{field: value}),
                    f"local target: {field} is refused, not ignored", field)
        refused(openai.BadRequestError, lambda: create(messages=[{"role": "user"}], **GREEDY), "local target: no content")
        refused(openai.NotFoundError, lambda: client.embeddings.create(model="guide", input="x"),
                "local target: an unknown route")
        check_curl(url, rewrite)


def check_curl(url, rewrite):
    if not shutil.which("curl"):
        print("SKIP: check_openai_client: no curl")
        return
    body = json.dumps({"messages": user(PROMPT), "stream": True, **GREEDY})
    done = subprocess.run(["curl", "-sNf", "-D", "-", url + "/v1/chat/completions", "-H", "x-alignpro: show", "-d", body],
                          capture_output=True, text=True)
    report(done.returncode == 0 and done.stdout.rstrip().endswith("data: [DONE]"), "curl: a stream", repr(done.stdout[-30:]))
    same("curl: the rewrite's header", [urllib.parse.unquote(line.split(": ", 1)[1]) for line in done.stdout.splitlines()
                                        if line.startswith("x-alignpro-rewrite: ")], [rewrite])
    done = subprocess.run(["curl", "-sf", url + "/v1/models"], capture_output=True, text=True)
    same("curl: models", json.loads(done.stdout or "{}").get("object"), "list")
    chunked = subprocess.run(["curl", "-sf", "--http1.1", "-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue",
                              url + "/v1/rewrite", "-d", json.dumps({"prompt": PROMPT})], capture_output=True, text=True)
    same("curl: a chunked body after 100 Continue", json.loads(chunked.stdout or "{}").get("rewrite"), rewrite)


def check_llama(args):
    with (llama_server(args, logits_all=True) as upstream, alignpro_serve(args, "--upstream", upstream) as url,
          client_of(url) as client):
        create = client.chat.completions.create
        rewrite = post(url + "/v1/rewrite", {"prompt": PROMPT})["rewrite"]
        own = client_of(upstream.removesuffix("/v1"))
        asked = {"logprobs": True, "top_logprobs": 2, **GREEDY}

        def direct(text):
            return text_of(own.chat.completions.create(messages=user(text), **GREEDY))

        check_chat("llama.cpp", client, direct, rewrite)
        same("llama.cpp: models", [m.id for m in client.models.list()], ["guide"])
        whole = client.completions.create(prompt=PROMPT, **GREEDY).choices[0].text
        same("llama.cpp: a completion is that of the rewrite", whole,
             own.completions.create(prompt=rewrite, **GREEDY).choices[0].text)
        same("llama.cpp: logprobs", create(messages=user(PROMPT), **asked).choices[0].logprobs,
             own.chat.completions.create(messages=user(rewrite), **asked).choices[0].logprobs)
        as_json = create(messages=user(PROMPT), response_format={"type": "json_object"}, **{**GREEDY, "max_tokens": 8})
        report(text_of(as_json).lstrip()[:1] in ("{", ""), "llama.cpp: response_format", repr(text_of(as_json))[:70])
        tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
        reply = create(messages=user(PROMPT), tools=tools, tool_choice="auto", **GREEDY)
        same("llama.cpp: with tools nothing is rewritten", text_of(reply), direct(PROMPT))
        refused(openai.APIStatusError, lambda: create(messages=user(PROMPT), **{**GREEDY, "temperature": "hot"}),
                "llama.cpp: its own error comes through")


# ---- what reaches an upstream ----


class Upstream(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen, self.status, self.wait = [], 200, 0.0
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, body, dict(self.headers)))
        time.sleep(self.server.wait)
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}]}
        if self.server.status != 200:
            answer = {"error": {"message": "the upstream's own words", "type": "x", "code": "y"}}
        data = json.dumps(answer).encode()
        with contextlib.suppress(OSError):
            self.send_response(self.server.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if self.server.status == 429:
                self.send_header("Retry-After", "7")
            self.end_headers()
            self.wfile.write(data)


FIELDS = {"model": "m", "temperature": 0.1, "seed": 9007199254740993, "user": "\u00fc\u2028\"\\", "metadata": {"a": "1"}}
UNKNOWN = {"unknown_field": [1, {"deep": None}]}
TOOLS = {"tools": [{"type": "function", "function": {"name": "f", "description": PROMPT, "parameters": {"type": "object"}}}]}
FORMAT = {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TURNS = [
    {"role": "system", "content": PROMPT},
    {"role": "user", "content": [IMAGE, {"type": "text", "text": "the owl"}]},
    {"role": "assistant", "content": None,
     "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1e3}"}}]},
    {"role": "tool", "tool_call_id": "c", "content": "the bat"},
    {"role": "assistant", "content": "It sleeps."},
]


def check_passing(create, upstream):
    """Everything but the text of the last user message reaches the upstream as the client sent it."""
    for what, more, options in (("off", TOOLS | FORMAT, OFF), ("tools", TOOLS, {}), ("JSON mode", FORMAT, {})):
        sent = FIELDS | more | {"messages": TURNS + user(PROMPT)}
        reply = create(**sent, extra_body=UNKNOWN, extra_headers=options)
        same(f"untouched: {what}", (text_of(reply), json.loads(upstream.seen[-1][1])), ("yes", sent | UNKNOWN))
    for what, last in (("a text", PROMPT), ("a text beside an image", [IMAGE, {"type": "text", "text": PROMPT}])):
        sent = FIELDS | {"messages": TURNS + user(last)}
        create(**sent, extra_body=UNKNOWN)
        got = json.loads(upstream.seen[-1][1])
        holder, key = (got["messages"][-1], "content") if last == PROMPT else (got["messages"][-1]["content"][1], "text")
        report(holder[key] not in ("", PROMPT), f"rewritten: {what}", repr(holder[key])[:70])
        holder[key] = PROMPT
        same("and nothing else", got, sent | UNKNOWN)


def check_upstream(args):
    upstream = Upstream()
    with alignpro_serve(args, "--upstream", upstream.url, "--request-timeout", "2") as url, client_of(url, "sk-client") as client:
        create, ask = client.chat.completions.create, {"messages": user(PROMPT), "model": "m"}
        check_passing(create, upstream)
        report("sk-client" not in str(upstream.seen), "the client's key stays here")
        create(messages=user(PROMPT), model="m", extra_body=OFF)
        report(b"x-alignpro" not in upstream.seen[-1][1], "the field x-alignpro stays here")
        for status, kind in ((400, openai.BadRequestError), (404, openai.NotFoundError), (422, openai.UnprocessableEntityError),
                             (429, openai.RateLimitError), (500, openai.InternalServerError)):
            upstream.status = status
            refused(kind, lambda: create(**ask), f"the upstream's {status}", "the upstream's own words")
        upstream.status = 429
        try:
            create(**ask)
        except openai.RateLimitError as error:
            same("its Retry-After", error.response.headers.get("retry-after"), "7")
        upstream.status, before = 503, len(upstream.seen)
        refused(openai.InternalServerError, lambda: client_of(url, max_retries=2).chat.completions.create(**ask),
                "the client asks again by itself")
        same("each of its attempts is one", len(upstream.seen) - before, 3)
        upstream.status, upstream.wait = 200, 4.0
        refused(openai.APITimeoutError, lambda: client_of(url, timeout=0.5).chat.completions.create(**ask),
                "the client's own timeout")
        refused(openai.InternalServerError, lambda: create(**ask), "serve's timeout", "upstream")
        upstream.wait = 0.0
        same("and it still answers", text_of(create(**ask)), "yes")
    upstream.shutdown()


def check_keys(args):
    keys = args.keep / "keys"
    made = [run(args.alignpro, "serve", "--keys", keys, "--new-key", name).stdout.strip() for name in ("one", "slow")]
    lines = keys.read_text().splitlines()
    keys.write_text("".join(line + (" 3" if line.startswith("slow") else "") + "\n" for line in lines))
    with alignpro_serve(args, "--local-target", "--keys", keys) as url:
        create = {name: client_of(url, key).chat.completions.create for name, key in zip(("one", "slow"), made)}
        report(text_of(create["one"](messages=user(PROMPT), **GREEDY)) != "", "a key is taken")
        refused(openai.AuthenticationError, lambda: client_of(url, made[0][:-1] + "x").models.list(), "another key", "no key")
        refused(openai.RateLimitError, lambda: [create["slow"](messages=user(PROMPT), **GREEDY) for _ in range(4)], "three a minute")
        report(text_of(create["one"](messages=user(PROMPT), **GREEDY)) != "", "the other key goes on")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    with prepared(parser) as args:
        for check in (check_upstream, check_keys, check_local, check_llama):
            check(args)
    print(f"{len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
