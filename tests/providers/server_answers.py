"""Answers of OpenAI-compatible servers as their documentation and sources have them, and a socket that plays them.

``ANSWERS`` holds per server what GET answers by path; ``FEATURES`` how its chat behaves in what a probe looks at.
"""

from __future__ import annotations

import http.server
import json
import threading
from typing import Any

MODEL = "org/model"


def listing(owner: str | None = None, model: str = MODEL, **more: Any) -> dict[str, Any]:
    row = {"id": model, "object": "model", "created": 1_700_000_000, **({"owned_by": owner} if owner else {}), **more}
    return {"object": "list", "data": [row]}


LM_STUDIO_ROW = {
    "id": MODEL,
    "object": "model",
    "type": "vlm",
    "publisher": "mlx-community",
    "arch": "qwen2_vl",
    "compatibility_type": "mlx",
    "quantization": "4bit",
    "state": "loaded",
    "max_context_length": 32768,
    "loaded_context_length": 4096,
    "capabilities": ["tool_use"],
}
LM_STUDIO_NEWER = {
    "type": "llm",
    "publisher": "qwen",
    "key": MODEL,
    "display_name": "Model",
    "architecture": "qwen35",
    "quantization": {"name": "Q4_K_M", "bits_per_weight": 4},
    "size_bytes": 6_548_927_017,
    "params_string": "9B",
    "loaded_instances": [{"id": MODEL, "config": {"context_length": 8192, "flash_attention": True}}],
    "max_context_length": 262_144,
    "format": "gguf",
    "capabilities": {"vision": True, "trained_for_tool_use": True},
}
ANSWERS: dict[str, dict[str, Any]] = {
    "lm-studio": {
        "/v1/models": listing("organization_owner"),
        "/api/v0/models": {"object": "list", "data": [LM_STUDIO_ROW, {**LM_STUDIO_ROW, "id": "other"}]},
    },
    "lm-studio newer": {"/v1/models": listing("organization_owner"), "/api/v1/models": {"models": [LM_STUDIO_NEWER]}},
    "vllm": {
        "/v1/models": listing("vllm", root=MODEL, parent=None, max_model_len=32768, permission=[{"id": "modelperm-1"}]),
        "/version": {"version": "0.11.2"},
        "/health": "",
    },
    "sglang": {
        "/v1/models": listing("sglang", root=MODEL, max_model_len=16384),
        "/get_model_info": {
            "model_path": MODEL,
            "tokenizer_path": MODEL,
            "is_generation": True,
            "preferred_sampling_params": None,
            "has_image_understanding": False,
        },
        "/get_server_info": {"version": "0.5.4", "max_running_requests": 48, "context_length": None, "tp_size": 1},
    },
    "tgi": {
        "/v1/models": listing(MODEL),
        "/info": {
            "model_id": MODEL,
            "model_sha": "e985a63cdc139290c5f700ff1929f0b5942cced2",
            "model_pipeline_tag": "text-generation",
            "max_concurrent_requests": 128,
            "max_best_of": 2,
            "max_stop_sequences": 4,
            "max_input_tokens": 1024,
            "max_total_tokens": 2048,
            "validation_workers": 2,
            "max_client_batch_size": 4,
            "router": "text-generation-router",
            "version": "3.3.4",
            "sha": None,
            "docker_label": None,
        },
    },
    "llama-server": {
        "/v1/models": listing("llamacpp", meta={"n_params": 135_000_000, "n_ctx_train": 2048, "size": 94_000_000}),
        "/props": {
            "default_generation_settings": {"id": 0, "n_ctx": 2048, "is_processing": False},
            "total_slots": 4,
            "model_path": "model.gguf",
            "chat_template": "x",
            "modalities": {"vision": False, "audio": False},
            "build_info": "b8681-Debian",
        },
        "/slots": [{"id": 0, "n_ctx": 2048, "is_processing": False}],
        "/health": {"status": "ok"},
        "/api/tags": {"models": [{"name": MODEL, "model": MODEL}]},  # its shim for clients of Ollama
    },
    "koboldcpp": {
        "/v1/models": {
            "object": "list",
            "data": [
                {"id": MODEL, "object": "model", "created": 1, "owned_by": "koboldcpp", "permission": [], "root": "k"}
            ],
        },
        "/api/extra/version": {"result": "KoboldCpp", "version": "1.122.1", "llm": True, "vision": True},
        "/api/extra/true_max_context_length": {"value": 6144},
        "/props": {"total_slots": 1, "chat_template": "x", "default_generation_settings": {"n_ctx": 6144}},
        "/api/tags": {"models": [{"name": MODEL}]},
        "/api/version": {"version": "0.7.0"},
    },
    "localai": {
        "/v1/models": listing(),
        "/system": {"backends": ["llama-cpp", "whisper"], "loaded_models": [{"id": MODEL}]},
        "/version": {"version": "2.26.0 (a1b2c3d4)"},
    },
    "mlx-lm": {"/v1/models": listing(), "/health": {"status": "ok"}},
    "jan": {
        "/v1/models": {"object": "list", "data": [{"id": MODEL, "object": "model", "ctx_len": 4096}]},
        "/openapi.json": {"openapi": "3.0.0", "info": {"title": "Jan API Server Endpoints", "version": "1.0"}},
    },
    "ollama": {
        "/v1/models": listing("library"),
        "/api/tags": {
            "models": [{"name": MODEL, "size": 815_319_791, "details": {"quantization_level": "Q4_K_M"}}],
        },
        "/api/version": {"version": "0.12.11"},
    },
    "podium": {"/v1/models": listing("podium")},
    "openai-compatible": {"/v1/models": listing("somebody")},
}
"""What is not in it is 404, but in LM Studio, which answers 200 with an error there."""
HEADERS = {"llama-server": "llama.cpp", "mlx-lm": "BaseHTTP/0.6 Python/3.12.3", "koboldcpp": "KoboldCppServer 1"}


class Fake:
    """One such server on a real socket. ``chat`` changes how it answers; ``asked`` are (method, path, body)."""

    def __init__(self, name: str, *, key: str | None = None, **chat: Any) -> None:
        self.answers = ANSWERS[name]
        self.asked: list[tuple[str, str, Any]] = []
        self.generated = 0
        self.key = key
        self.chat = {"tools": True, "schema": True, "logprobs": True, "usage": True, "completions": True, **chat}
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def version_string(self) -> str:
                return HEADERS.get(name, "uvicorn")

            def do_GET(self) -> None:
                fake.asked.append(("GET", self.path, None))
                found = fake.answers.get(self.path)
                if fake.key is not None and self.headers["authorization"] != f"Bearer {fake.key}":
                    self.reply(401, {"error": "Unauthorized"})
                elif found is not None:
                    self.reply(200, found)
                elif name.startswith("lm-studio"):
                    self.reply(200, {"error": f"Unexpected endpoint or method. (GET {self.path})"})
                else:
                    self.reply(404, {"detail": "Not Found"})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                fake.asked.append(("POST", self.path, body))
                status, answer = fake.generate(self.path, body)
                if status == 0:
                    self.close_connection = True
                    return
                self.reply(status, answer)

            def reply(self, status: int, value: Any) -> None:
                raw = (
                    value if isinstance(value, bytes) else value.encode() if value == "" else json.dumps(value).encode()
                )
                self.send_response(status)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def generate(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        chat = self.chat
        if chat.get("status"):
            return chat["status"], {"error": {"message": "not now"}}
        if path == "/v1/embeddings" and chat.get("embeds"):
            return 200, {"data": [{"embedding": [0.1, 0.2, 0.3]}], "usage": {"prompt_tokens": 1}}
        if chat.get("embeds") or path not in ("/v1/chat/completions", "/v1/completions"):
            return 501, {"error": {"message": "this model does not generate"}}
        limit = body.get("max_tokens", body.get("max_completion_tokens"))
        self.generated += limit if limit is not None else 1_000_000
        if path == "/v1/completions" and chat["completions"] == "breaks":
            return 0, None
        if path == "/v1/completions":
            return (200, {"choices": [{"text": " time"}]}) if chat["completions"] else (404, {"detail": "Not Found"})
        return self._chat(body)

    def _chat(self, body: dict[str, Any]) -> tuple[int, Any]:
        chat = self.chat
        prompt = 9
        if body.get("tools"):
            if chat["tools"] == "refused":
                return 500, {"error": {"message": "tools param requires --jinja flag"}}
            prompt += 61 if chat["tools"] else 0
        if isinstance(body["messages"][0]["content"], list):
            prompt += 64 if chat.get("vision") else 0
        text = "Hello"
        if body.get("response_format") and chat["schema"]:
            text = "" if chat["schema"] == "silent" else '{"'
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": "length",
            "message": {"role": "assistant", "content": text},
        }
        if body.get("logprobs") and chat["logprobs"]:
            choice["logprobs"] = {"content": [{"token": text, "logprob": -0.1, "bytes": None, "top_logprobs": []}]}
        usage = {"prompt_tokens": prompt, "completion_tokens": 1, "total_tokens": prompt + 1}
        if chat["usage"] == 0:
            usage = dict.fromkeys(usage, 0)
        told = {"usage": usage} if chat["usage"] is not False else {}
        if not body.get("stream"):
            return 200, {"id": "x", "object": "chat.completion", "choices": [choice], **told}
        events = [{"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "length"}]}]
        if body.get("stream_options") and told and chat["usage"]:
            events.append({"choices": [], **told})
        return 200, b"".join(b"data:" + json.dumps(event).encode() + b"\n\n" for event in events) + b"data:[DONE]\n\n"

    def paths(self, method: str) -> list[str]:
        return [path for said, path, _ in self.asked if said == method]

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
