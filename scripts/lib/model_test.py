"""Runs `factory` against a model server on loopback, with a recorder between them, and checks how it behaves.

Started by scripts/model-test. Prints a line for each command and each thing that has to hold, and ends with 1 when one
does not.
"""

import argparse
import http.client
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

MODEL = "smollm2"
KEY = "planted-key-of-the-model-test"
PRICES = """schema = 1
version = "model-test"

[[model]]
name = "smollm2"
input = "1"
output = "4"
"""
SPEC = """# Greeter

A Python module `greet.py` with a function `greet(name)` that returns "Hello, NAME!", and a test for it in
`tests/test_greet.py` that runs with `python -m unittest`.
"""
ORDER = {
    "id": "WO-01",
    "title": "Add a greeting",
    "intent": "Write greet.py with a function greet(name) that returns 'Hello, ' + name + '!'.",
    "preconditions": [{"kind": "file_absent", "path": "greet.py"}],
    "postconditions": [{"kind": "file_exists", "path": "greet.py"}],
    "allowed_files": ["greet.py"],
    "forbidden": [],
    "acceptance_commands": ["python3 -c \"import greet; assert greet.greet('Ada') == 'Hello, Ada!'\""],
    "context_files": [],
    "verify_exempt": True,
}


class Recorder(http.server.ThreadingHTTPServer):
    """Passes requests on to the server and keeps what was asked and answered."""

    daemon_threads = True

    def __init__(self, upstream):
        super().__init__(("127.0.0.1", 0), Passing)
        self.upstream = upstream
        self.exchanges = []

    def base(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def asked(self):
        return [exchange for exchange in self.exchanges if exchange["method"] == "POST"]


class Passing(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.pass_on()

    def do_POST(self):
        self.pass_on()

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        exchange = {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body.decode()}
        self.server.exchanges.append(exchange)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=600)
        kept = {name: self.headers[name] for name in ("content-type", "accept", "authorization") if name in self.headers}
        connection.request(self.command, self.path, body, kept)
        response = connection.getresponse()
        exchange["status"] = response.status
        self.send_response(response.status)
        self.send_header("content-type", response.getheader("content-type", "application/json"))
        self.send_header("connection", "close")
        self.end_headers()
        answer = b""
        while piece := response.read1(65536):
            answer += piece
            try:
                self.wfile.write(piece)
            except OSError:
                break
        exchange["answer"] = answer.decode(errors="replace")
        connection.close()

    def log_message(self, *_):
        pass


class Checks:
    def __init__(self):
        self.failed = 0

    def holds(self, what, condition, otherwise=""):
        print(f"  {'ok  ' if condition else 'FAIL'}  {what}{'' if condition else f': {otherwise}'}", flush=True)
        self.failed += not condition


def start_server(arguments, log):
    """Starts the model server on a free port, and waits until it answers."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as free:
        port = free.server_address[1]
    words = [arguments.python, "-m", "llama_cpp.server", "--model", arguments.weights, "--model_alias", MODEL]
    words += ["--host", "127.0.0.1", "--port", str(port), "--n_threads", arguments.threads]
    words += ["--n_threads_batch", arguments.threads, "--n_ctx", "8192", "--api_key", KEY]
    server = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    for _ in range(600):
        if server.poll() is not None:
            break
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {KEY}"})
            if connection.getresponse().status == 200:
                return server, port
        except OSError:
            pass
        time.sleep(0.1)
    server.kill()
    sys.exit(f"error: the model server does not start\nhelp: see {log.name}")


class Trial:
    def __init__(self, arguments, recorder, place):
        self.factory, self.recorder, self.place = arguments.factory, recorder, pathlib.Path(place)
        self.checks = Checks()
        home = self.place / "home"
        home.mkdir()
        kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
        self.environment = {**kept, "HOME": str(home), "OPENAI_API_KEY": KEY, "NO_COLOR": "1"}
        repository = self.place / "repository"
        git = ["git", "-C", repository, "-c", "user.name=Test", "-c", "user.email=test@example.com"]
        subprocess.run(["git", "init", "--quiet", repository], check=True)
        subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message=base"], check=True)
        (self.place / "spec.md").write_text(SPEC)
        (self.place / "order.json").write_text(json.dumps(ORDER))
        (self.place / "prices.toml").write_text(PRICES)

    def call(self, *words):
        """Runs `factory`, and answers its exit code, its events and how many requests it sent."""
        before = len(self.recorder.asked())
        started = time.monotonic()
        ended = subprocess.run(
            [self.factory, *words], cwd=self.place, env=self.environment, capture_output=True, text=True, timeout=1800
        )
        seconds = time.monotonic() - started
        events = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
        sent = len(self.recorder.asked()) - before
        shown = " ".join(word for word in words if "=" not in word or word.startswith("--budget"))
        print(f"\nfactory {shown}: exit {ended.returncode}, {sent} requests, {seconds:.1f} s", flush=True)
        return ended.returncode, events, sent

    def ask(self, command, *more):
        fixed = ["--json", "--repo=repository", f"--provider=openai:{self.recorder.base()}", f"--model={MODEL}"]
        limits = ["--provider-option=output-limit=max_tokens", "--provider-option=max-output-tokens=200"]
        return self.call(command, *fixed, *limits, "--prices=prices.toml", *more)

    def summary(self, events):
        last = events[-1] if events else {}
        summary = last.get("summary") or {}
        problem = last.get("problem") or {}
        print(f"  class {problem.get('class')}: {problem.get('message', 'no problem')}"[:160])
        print(f"  usage {json.dumps(summary.get('usage'))}")
        return summary, problem

    def doctor(self):
        code, _, sent = self.call(
            "doctor", f"--provider=openai:{self.recorder.base()}", f"--model={MODEL}", "--json",
            "--provider-option=output-limit=max_tokens",
        )
        self.checks.holds("every stage of the way to the model is fine", code == 0 and sent == 1, f"exit {code}")

    def plan(self, delivery, structured):
        options = [f"--provider-option=delivery={delivery}", f"--provider-option=json={structured}"]
        code, events, sent = self.ask(
            "plan", "--spec=spec.md", f"--out=plan-{delivery}-{structured}", "--max-attempts=2", "--budget=plan=0.05", *options
        )
        summary, problem = self.summary(events)
        checks = self.checks
        checks.holds("exit code is that of a plan, of no JSON, or of one that is not valid", code in (0, 4, 65), code)
        checks.holds("attempts are bounded", 1 <= sent <= 2, sent)
        classes = {0: None, 4: "proposal", 65: "order"}
        checks.holds("the class is that of the exit code", problem.get("class") == classes.get(code), problem.get("class"))
        self.paid(summary, sent, is_reported=delivery == "whole")

    def run(self, delivery):
        code, events, sent = self.ask(
            "run", "--max-attempts=2", "--fresh", "--allow-verify-exempt", "--budget=order=0.05",
            f"--provider-option=delivery={delivery}", "order.json",
        )
        summary, problem = self.summary(events)
        checks = self.checks
        checks.holds("exit code is that of a pass, a rejection, or an unusable answer", code in (0, 1, 4), code)
        checks.holds("attempts are bounded", 1 <= sent <= 2 and sent == len(summary.get("attempts", [])), sent)
        allowed = {0: {None}, 1: {"rejected"}, 4: {"proposal"}}
        fits = problem.get("class") in allowed.get(code, set())
        checks.holds("the class is that of the exit code", fits, problem.get("class"))
        self.paid(summary, sent, is_reported=delivery == "whole")

    def paid(self, summary, sent, is_reported):
        usage = summary.get("usage", {})
        self.checks.holds("each answer is counted", usage.get("answers") == sent, usage)
        self.checks.holds(
            "tokens are those that the server reports" if is_reported else "without a report, tokens are counted here, and marked",
            usage.get("estimated", False) != is_reported, usage,
        )
        # In billionths of a dollar.
        self.checks.holds("it cost something, and not more than the cap", 0 < usage.get("usd", 0) <= 50_000_000, usage)

    def budget(self):
        for cap in ("call=50tok", "call=0.000001", "order=0"):
            code, events, sent = self.ask("run", "--fresh", "--allow-verify-exempt", f"--budget={cap}", "order.json")
            self.checks.holds(f"{cap} allows no request", (code, sent) == (11, 0), f"exit {code}, {sent} requests")

    def replay(self):
        code, _, sent = self.record()
        again, _, none = self.call(
            "run", "--json", "--repo=repository", "--fresh", "--allow-verify-exempt", "--max-attempts=1", "--branch=replayed",
            f"--provider=replay:{self.place}/cassette", "order.json",
        )
        self.checks.holds("a recording ends as the run that made it", (again, none) == (code, 0), f"{code} and {again}")
        self.checks.holds("the recorded run asked once", sent == 1, sent)

    def record(self):
        return self.call(
            "run", "--json", "--repo=repository", "--fresh", "--allow-verify-exempt", "--max-attempts=1", "--branch=recorded",
            f"--provider=record:{self.place}/cassette:openai:{self.recorder.base()}", f"--model={MODEL}",
            "--provider-option=output-limit=max_tokens", "--provider-option=max-output-tokens=200", "order.json",
        )

    def requests(self):
        print("\nwhat the server got", flush=True)
        asked = self.recorder.asked()
        for exchange in asked:
            body = json.loads(exchange["body"])
            words = sum(len(message["content"]) for message in body["messages"])
            told = {name: value for name, value in body.items() if name != "messages"}
            print(f"  {exchange['path']} {exchange['status']}: {words} characters, {json.dumps(told)}")
        checks = self.checks
        refused = [exchange for exchange in asked if exchange["status"] != 200]
        checks.holds("it accepted every request", not refused, [exchange["answer"][:200] for exchange in refused])
        bearers = {exchange["headers"].get("authorization") for exchange in asked}
        checks.holds("each had the key in its header", bearers == {f"Bearer {KEY}"}, len(bearers))
        checks.holds("none had it in its body", not any(KEY in exchange["body"] for exchange in asked))

    def cost(self):
        code, documents, _ = self.call("cost", "--by", "model", "--json")
        ended = subprocess.run([self.factory, "cost", "--by", "model"], cwd=self.place, env=self.environment, capture_output=True, text=True)
        print("".join(f"  {line}\n" for line in ended.stdout.splitlines()), end="")
        self.checks.holds("the journal has the sum", code == 0 and MODEL in ended.stdout, ended.stderr)
        found = [
            path for path in self.place.rglob("*")
            if path.is_file() and KEY.encode() in path.read_bytes()
        ]
        self.checks.holds("the key is in no file", not found, found)


def main():
    parser = argparse.ArgumentParser()
    for name in ("factory", "python", "weights", "threads"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    arguments.factory = os.path.abspath(arguments.factory)
    with tempfile.TemporaryDirectory(prefix="factory-model-test-", dir="/var/tmp") as place:
        with open(f"{place}/server.log", "w", encoding="utf-8") as log:
            server, port = start_server(arguments, log)
            try:
                recorder = Recorder(port)
                threading.Thread(target=recorder.serve_forever, daemon=True).start()
                trial = Trial(arguments, recorder, place)
                trial.doctor()
                trial.plan("stream", "off")
                trial.plan("whole", "object")
                trial.run("stream")
                trial.run("whole")
                trial.budget()
                trial.replay()
                trial.requests()
                trial.cost()
            finally:
                server.kill()
                server.wait()
    print(f"\n{trial.checks.failed} checks failed" if trial.checks.failed else "\nall checks passed")
    return 1 if trial.checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
