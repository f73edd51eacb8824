"""LiteLLM's proxy configuration as proposals: deployments that speak OpenAI's or Ollama's API, aliases, fallbacks, prices.

Follows the documented format (docs.litellm.ai, proxy configs). Contacts nobody.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from podium.importing.llama_swap import variable
from podium.importing.report import Proposal, Report, usable_name
from podium.importing.taking import Taking
from podium.importing.yaml_file import Value, read_yaml, table_in

OWN_SERVERS = frozenset(
    {"openai", "custom_openai", "openai_like", "text-completion-openai", "hosted_vllm", "vllm", "lm_studio", "llamafile",
     "litellm_proxy", "xinference", "lemonade", "docker_model_runner"}
)  # fmt: skip
"""Prefixes of models that are served at ``api_base`` by OpenAI's API."""
HOSTED = {
    "openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "groq": ("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "mistral": ("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "deepseek": ("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "together_ai": ("https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    "fireworks_ai": ("https://api.fireworks.ai/inference/v1", "FIREWORKS_AI_API_KEY"),
    "xai": ("https://api.x.ai/v1", "XAI_API_KEY"),
}
"""Services with OpenAI's API: where, and the variable that LiteLLM reads the key from."""
_PARAMS = {
    "rpm": "there are no limits per model; see docs/budgets.md",
    "tpm": "there are no limits per model; see docs/budgets.md",
    "temperature": "requests reach the model as they came",
    "max_tokens": "requests reach the model as they came",
    "top_p": "requests reach the model as they came",
    "timeout": "see [timeouts] of the configuration",
    "stream_timeout": "see [timeouts] of the configuration",
    "max_retries": "failures go to fallbacks",
    "weight": "Podium shares traffic by what it learned",
    "order": "use fallbacks",
    "organization": "it is not sent",
    "drop_params": "fields reach the model as they came",
    "tags": "use --tag to find it by",
    "extra_headers": "they may hold secrets and are not sent",
    "headers": "they may hold secrets and are not sent",
    "extra_body": "requests reach the model as they came",
}
_MODEL_INFO = dict.fromkeys(
    ("id", "mode", "base_model", "max_tokens", "metadata"), "facts are probed when it is registered"
)
_TOP = {
    "general_settings": "keys, databases and routes are Podium's own; secrets in it are not copied",
    "environment_variables": "set them where Podium is started; their values are not copied",
    "callback_settings": "see docs/events.md",
    "mcp_servers": "there is nothing of the kind",
    "guardrails": "see docs/judging.md",
    "vector_store_registry": "there is nothing of the kind",
    "credential_list": "secrets are not copied",
    "files_settings": "there is nothing of the kind",
    "include": "import each file by itself",
}


def read_litellm(path: Path, environ: Mapping[str, str]) -> Report:
    """Everything a file says. Raises ``InvalidRequest`` for one that is no YAML."""
    report = Report()
    top = Taking(read_yaml(path, lambda said, line: report.note(said, path.name, line)), path.name, report)
    rows = top.value("model_list")
    if rows is None or not isinstance(rows.data, list) or not rows.data:
        report.note("model_list must be a list with a model at least", path.name, rows.line if rows else 1, wrong=True)
        rows = Value([], 1)
    groups: Counter[str] = Counter()
    made: dict[str, str] = {}
    for number, row in enumerate(rows.data):
        found = _deployment(row, number, groups, environ, report, str(path))
        if found is not None:
            group, proposal = found
            report.add(proposal)
            made.setdefault(group, report.proposals[-1].name)
    for group, count in groups.items():
        if count > 1:
            report.note(
                f"{count} deployments share the name {group}: they are versions of one model; Podium shares traffic by what it "
                "learned of them, not evenly",
                "model_list",
            )
    router = Taking(top.value("router_settings"), "router_settings", report)
    module = Taking(top.value("litellm_settings"), "litellm_settings", report)
    _aliases(router, made, report)
    chains: dict[str, list[str]] = {}
    for part in (router, module):
        _fallbacks(part, made, chains, report)
        part.lost(dict.fromkeys(list(part.left), "Podium has its own settings, see docs/configuration.md"))
    if chains:
        report.config += [
            "[fallbacks]",
            *(f"{json.dumps(name)} = {json.dumps(chain)}" for name, chain in chains.items()),
        ]
    top.lost(_TOP)
    top.rest(("model_list", "router_settings", "litellm_settings", "general_settings"))
    return report


def _deployment(
    row: Value, number: int, groups: Counter[str], environ: Mapping[str, str], report: Report, file: str
) -> tuple[str, Proposal] | None:
    where = f"model_list[{number}]"
    own = Taking(row, where, report)
    group, params = own.text("model_name"), Taking(own.value("litellm_params"), f"{where}.litellm_params", report)
    info = Taking(own.value("model_info"), f"{where}.model_info", report)
    model = params.text("model")
    name = group.data if group is not None else None
    if name is None or model is None:
        params.rest(("model", "api_base", "api_key"))
        own.rest(("model_name", "litellm_params", "model_info"))
        report.note("needs model_name and litellm_params.model", where, row.line, wrong=True)
        return None
    where = f"model_list[{number}] {name}"
    kind, slash, remote = model.data.partition("/")
    if not slash:
        kind, remote = "openai", model.data
    base = _base(params, kind, environ, where, report)
    key = _key(params, name, where, report)
    price = (params.number("input_cost_per_token") or info.number("input_cost_per_token"),
             params.number("output_cost_per_token") or info.number("output_cost_per_token"))  # fmt: skip
    params.lost(_PARAMS)
    params.rest(("model", "api_base", "api_key"))
    info.lost(_MODEL_INFO)
    info.lost(dict.fromkeys(list(info.left), "facts are probed when it is registered"))
    own.rest(("model_name", "litellm_params", "model_info"))
    if "*" in name or "*" in remote:
        report.note(
            "wildcards do not carry over: register each model, `podium models scan` finds them",
            where,
            model.line,
            wrong=True,
        )
        return None
    source = _source(kind, remote, base, key)
    if source is None:
        report.note(
            f"{kind}/… does not carry over: Podium speaks to OpenAI-compatible servers (give api_base) and Ollama", where,
            model.line, wrong=True,
        )  # fmt: skip
        return None
    provider, location, settings = source
    groups[name] += 1
    version = None if groups[name] == 1 else str(groups[name])
    if all(one is not None for one in price):
        asked, answered = (one.data * 1e6 for one in price if one is not None)
        report.config += [f"[prices.{json.dumps(remote)}]", f"input = {asked:.10g}", f"output = {answered:.10g}"]
    if kind in HOSTED and location == HOSTED[kind][0]:
        report.note(
            "a hosted service: it stays off until its key is set and a budget exists, see docs/budgets.md",
            where,
            row.line,
        )
    return name, Proposal(
        name=usable_name(name),
        provider=provider,
        location=location,
        origin=f"{file}:{row.line}",
        settings=settings,
        version=version,
        about=f"{model.data} of LiteLLM",
    )


def _source(kind: str, remote: str, base: str | None, key: str | None) -> tuple[str, str, dict[str, Any]] | None:
    if kind in ("ollama", "ollama_chat"):
        return "ollama", remote, {"host": base} if base is not None else {}
    settings: dict[str, Any] = {"remote": remote}
    if base is None and kind in HOSTED:
        base, usual = HOSTED[kind]
        key = key or usual
    if base is None or (kind not in OWN_SERVERS and kind not in HOSTED):
        return None
    return "openai", base, settings | ({"api_key_env": key} if key is not None else {})


def _base(params: Taking, kind: str, environ: Mapping[str, str], where: str, report: Report) -> str | None:
    found = params.text("api_base") or params.text("base_url")
    if found is None:
        return None
    text: str = found.data
    if text.startswith("os.environ/"):
        name = text.removeprefix("os.environ/")
        text = environ.get(name, "")
        if not text:
            report.note(
                f"api_base is in the environment variable {name}, which is not set here", where, found.line, wrong=True
            )
            return None
        report.note(f"api_base was taken from the environment variable {name} as it is now", where, found.line)
    if not re.match(r"https?://", text):
        report.note("api_base must be an http or https URL", where, found.line, wrong=True)
        return None
    return text.rstrip("/")


def _key(params: Taking, name: str, where: str, report: Report) -> str | None:
    """The variable that holds the key; never the key."""
    found = params.text("api_key")
    if found is None or found.data.strip().lower() in ("", "none", "not-needed", "fake-key", "dummy", "empty"):
        return None
    if found.data.startswith("os.environ/"):
        return str(found.data.removeprefix("os.environ/"))
    named = variable(name)
    report.note(f"api_key is not copied: put it into the environment variable {named}", where, found.line)
    return named


def _aliases(router: Taking, made: Mapping[str, str], report: Report) -> None:
    for alias, value in router.table("model_group_alias").items():
        target = value.data if isinstance(value.data, str) else table_in(value).get("model", Value(None, 0)).data
        name = made.get(str(target))
        if name is None:
            report.note(f"the alias {alias} is of {target!r}, which is not imported", "router_settings", value.line)
            continue
        for place, proposal in enumerate(report.proposals):
            if proposal.name == name and proposal.version is None:
                report.proposals[place] = replace(proposal, aliases=(*proposal.aliases, usable_name(alias)))


def _fallbacks(part: Taking, made: Mapping[str, str], chains: dict[str, list[str]], report: Report) -> None:
    found = part.value("fallbacks")
    if found is None:
        return
    for row in found.data if isinstance(found.data, list) else []:
        for name, chain in table_in(row).items():
            targets = [one.data for one in chain.data] if isinstance(chain.data, list) else []
            known = [made[target] for target in targets if target in made]
            for target in targets:
                if target not in made:
                    report.note(f"the fallback {target!r} of {name} is not imported", part.where, chain.line)
            if name in made and known:
                chains[made[name]] = known
            elif known:
                report.note(f"fallbacks of {name!r}, which is not imported, do not carry over", part.where, chain.line)
