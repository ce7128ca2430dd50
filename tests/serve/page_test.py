#!/usr/bin/env python3
"""The page of `alignpro serve`, in a browser, before an upstream of this file's own.

    page_test.py --alignpro BIN --chromium BIN --run DIR --folder DIR [--screenshots DIR]

DIR is a run with a reward and `guard.protect: [code]`. What is looked at is the page's text as a person reads it, and
that the browser has nothing to complain of: no exception, no violation of the page's policy, no dialog.
"""

import argparse
import contextlib
import http.server
import json
import pathlib
import re
import subprocess
import threading
import time
import urllib.request

import browser

HOSTILE = '<img src=x onerror="alert(1)"></p><script>alert(2)</script>&lt;b&gt; \u202e end'
DONE = "!running && document.getElementById('status').textContent !== ''"
failed = []


def check(ok, what, seen=""):
    if not ok:
        failed.append(what)
        print(f"FAILED: {what}: {seen!r}")


class Upstream(http.server.ThreadingHTTPServer):
    """Answers every chat with `text`, a word an event, or as long as `held` is set with half of it."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.text, self.held, self.status, self.asked = "", threading.Event(), 200, []
        self.gone = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.reply(200, {"object": "list", "data": [{"id": "first", "object": "model"}, {"id": "second"}]})

    def event(self, delta, finish=None):
        data = json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        piece = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.flush()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        if self.server.status != 200:
            self.reply(self.server.status, {"error": {"message": "the upstream says no " + HOSTILE}})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        pieces = re.findall(r"\S*\s*", f"{self.server.text} [{body['messages'][-1]['content']}]")
        try:
            for i, piece in enumerate(pieces):
                while self.server.held.is_set() and 2 * i >= len(pieces):
                    self.event({"content": ""})
                    time.sleep(0.02)
                self.event({"content": piece})
            self.event({}, "stop")
            self.wfile.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        except OSError:
            self.server.gone.set()
            self.close_connection = True


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


@contextlib.contextmanager
def serving(args, *options):
    process = subprocess.Popen([args.alignpro, "serve", "--run", args.run, "--listen", "127.0.0.1:0", *options],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    url = None
    for line in process.stdout:
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        if found:
            url = found.group()
            break
    threading.Thread(target=process.stdout.read, daemon=True).start()
    try:
        yield url
    finally:
        process.terminate()
        process.wait(30)


def parts(page):
    return page.evaluate("[...document.getElementById('diff').children].map(e => [e.localName, e.textContent])")


def number(text):
    return float(text.replace("\u2212", "-"))


def shoot(args, page, name):
    if args.screenshots:
        page.screenshot(args.screenshots / f"{name}.png")


def check_quiet(page, what, but=""):
    said = [line for line in page.complaints() if not (but and but in line)]
    check(not said, f"{what}: the browser complains", said)
    check(page.evaluate("document.querySelectorAll('img, main script, iframe, object').length") == 0,
          f"{what}: an answer became markup")


def check_run(page, url, prompt):
    """One whole run, of a prompt that is rewritten: rewrite, diff, both answers, rewards."""
    page.type("prompt", prompt)
    page.press_ctrl_enter()
    page.wait(DONE)
    rewrite = post(url + "/v1/rewrite", {"prompt": prompt})["rewrite"]
    check(page.text("status").startswith("Done in "), "status", page.text("status"))
    check(page.text("rewrite") == rewrite, "the rewrite", page.text("rewrite"))
    check("".join(t for kind, t in parts(page) if kind != "ins") == prompt, "the diff without additions", parts(page))
    check("".join(t for kind, t in parts(page) if kind != "del") == rewrite, "the diff without removals", parts(page))
    for side in ("bare", "rewritten"):
        answer = page.text(f"{side}-answer")
        score = post(url + "/v1/score", {"prompt": prompt, "answer": answer})["score"]
        check(abs(number(page.text(f"{side}-reward")) - score) < 0.0006, f"{side}: reward", page.text(f"{side}-reward"))
        check(re.match(r"[\d.]+ s, first word after [\d.]+ s", page.text(f"{side}-meta")), f"{side}: times",
              page.text(f"{side}-meta"))
        check(page.text(f"{side}-error") is None, f"{side}: an error", page.text(f"{side}-error"))
    check(rewrite != prompt and page.text("guard") is None, "it is rewritten", rewrite)
    check("by the rewrite" in page.text("gain"), "the gain", page.text("gain"))
    return rewrite


def with_upstream(args, chromium):
    upstream = Upstream()
    with serving(args, "--upstream", upstream.url) as url:
        page = chromium.page(url + "/")
        page.wait("facts.status === 'ok'")
        check("the upstream" in page.text("facts"), "facts", page.text("facts"))
        upstream.text = "It is an animal of the woods."
        rewrite = check_run(page, url, "fox 3")
        check(page.text("bare-answer") == "It is an animal of the woods. [fox 3]", "answer as typed",
              page.text("bare-answer"))
        check(page.text("rewritten-title") == "Answer to the rewrite", "the heading", page.text("rewritten-title"))
        check(page.text("rewritten-answer") == f"It is an animal of the woods. [{rewrite}]", "answer to the rewrite",
              page.text("rewritten-answer"))
        check({b["model"] for b in upstream.asked} == {"first"}, "the model asked for", upstream.asked)
        shoot(args, page, "upstream")
        upstream.text = HOSTILE
        check_run(page, url, "<b>`fox`</b><script>alert(3)</script>")
        check(page.text("bare-answer").startswith(HOSTILE), "a hostile answer stays text", page.text("bare-answer"))
        shoot(args, page, "hostile")
        check_quiet(page, "hostile answers")

        upstream.text = "an answer"
        page.type("prompt", "keep `x = 1` please")
        page.click("run")
        page.wait(DONE)
        check(page.text("guard") and "\u201ccode\u201d" in page.text("guard"), "the guard is told", page.text("guard"))
        check(page.text("rewrite") == "keep `x = 1` please", "a guarded rewrite", page.text("rewrite"))
        check([kind for kind, _ in parts(page)] == ["span"], "nothing was changed", parts(page))
        check("as typed" in (page.text("rewritten-note") or ""), "the note", page.text("rewritten-note"))
        check(page.text("rewritten-title") == "Answer to the prompt, not rewritten", "the heading of a guarded one",
              page.text("rewritten-title"))
        shoot(args, page, "guarded")

        upstream.held.set()
        upstream.text = "one two three four"
        page.type("prompt", "fox 5")
        page.click("run")
        page.wait("document.getElementById('bare-answer').textContent.startsWith('one')")
        check(page.evaluate("running !== null") and page.text("run") == "Stop", "it streams", page.text("bare-answer"))
        page.click("run")
        page.wait(DONE)
        check(page.text("status") == "Stopped." and page.text("run") == "Rewrite and answer", "a second click stops",
              page.text("status"))
        check(upstream.gone.wait(20), "the upstream hears that nobody waits")
        upstream.held.clear()
        check_quiet(page, "guard and stop")

        upstream.status = 400
        page.press_ctrl_enter()
        page.wait(DONE)
        check("the upstream says no <img" in (page.text("bare-error") or ""), "an error of the upstream",
              page.text("bare-error"))
        shoot(args, page, "error")
        check_quiet(page, "errors", but="status of 400")
    upstream.shutdown()


def with_key(args, chromium):
    keys = args.folder / "keys"
    made = subprocess.run([args.alignpro, "serve", "--keys", keys, "--new-key", "page"], capture_output=True, text=True)
    key = made.stdout.strip()
    check(made.returncode == 0 and key, "a key is made", made.stderr)
    with serving(args, "--local-target", "--keys", str(keys)) as url:
        page = chromium.page(url + "/", width=390, height=844, dark=True)
        page.wait("!document.getElementById('key-row').hidden")
        check(page.text("key-note") and page.evaluate("document.getElementById('key').type") == "password", "a key is asked for")
        page.type("prompt", "fox 5")
        page.press_ctrl_enter()
        page.wait(DONE)
        check("401" in (page.text("bare-error") or ""), "without a key", page.text("bare-error"))
        shoot(args, page, "key")
        page.type("key", key)
        page.press_ctrl_enter()
        page.wait(DONE)
        check(page.text("status").startswith("Done in "), "with the key", [page.text("status"), page.text("bare-error")])
        check(page.text("rewritten-answer") != "" and page.text("bare-reward") != "n/a", "answers of the local target")
        check(page.evaluate("document.documentElement.scrollWidth") <= 390, "it fits 390 pixels")
        check(page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0, "nothing is stored")
        check(page.evaluate("!location.href.includes('#') && !location.href.includes('?')"), "nothing in the address")
        shoot(args, page, "narrow")
        check_quiet(page, "keys", but="status of 401")


def rewrites_only(args, chromium):
    with serving(args, "--no-score") as url:
        page = chromium.page(url + "/", dark=True)
        page.wait("facts.status === 'ok'")
        check("no reward" in page.text("facts"), "no reward is told", page.text("facts"))
        page.type("prompt", "fox 5")
        page.press_ctrl_enter()
        page.wait(DONE)
        check(page.text("rewrite") == post(url + "/v1/rewrite", {"prompt": "fox 5"})["rewrite"], "a rewrite alone",
              page.text("rewrite"))
        check("only rewrites" in page.text("bare-meta"), "no answers", page.text("bare-meta"))
        shoot(args, page, "rewrites-only")
        check_quiet(page, "rewrites only")


def without_rewriting(args, chromium):
    title = "Answer to the prompt, not rewritten"
    with serving(args, "--local-target", "--rewrite", "none", "--no-score") as url:
        page = chromium.page(url + "/")
        page.wait("facts.status === 'ok'")
        check(page.text("rewritten-title") == title, "the heading before", page.text("rewritten-title"))
        page.type("prompt", "fox 5")
        page.press_ctrl_enter()
        page.wait(DONE)
        check(page.text("rewritten-title") == title, "the heading behind", page.text("rewritten-title"))
        check("rewrites nothing" in (page.text("rewritten-note") or ""), "the note", page.text("rewritten-note"))
        check_quiet(page, "without rewriting")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--alignpro", required=True)
    parser.add_argument("--chromium", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--screenshots", type=pathlib.Path)
    args = parser.parse_args()
    with browser.Browser(args.chromium) as chromium:
        for part in (with_upstream, with_key, rewrites_only, without_rewriting):
            part(args, chromium)
    print(f"{len(failed)} failed")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
