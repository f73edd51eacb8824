"""Reading the configuration: precedence, problems with their place, and what differs between two readings."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from podium.config import (
    Config,
    ModelEntry,
    Pool,
    Server,
    TaskEntry,
    default_home,
    difference,
    json_schema,
    load,
    prepare_home,
    reread,
)
from podium.config.positions import line_of
from podium.domain.task import Preference
from podium.errors import ConfigError

pytestmark = pytest.mark.requirement("OPS-6")


def read(folder: Path, text: str, **given: object) -> Config:
    file = folder / "podium.toml"
    file.write_text(text)
    return load(file, home=folder, environ={}, **given)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    found = caught.value.details["problems"]
    assert isinstance(found, list)
    return found


def test_without_a_file_the_defaults_apply(tmp_path):
    config = load(home=tmp_path, environ={})
    assert config.file is None
    assert (config.server.host, config.server.port) == ("127.0.0.1", 7636)
    assert config.pool.keep_warm_days == 7


def test_every_section_is_read(tmp_path):
    config = read(
        tmp_path,
        """
        [server]
        port = 0
        allowed_hosts = ["podium.local"]
        [pool]
        memory_budget_mb = 4096
        [selection]
        strategy = "mine"
        [selection.weights.mine]
        quality = 0.5
        latency = 0.5
        memory = 0
        reliability = 0
        recency = 0
        [tasks.code-generation]
        min_quality = 0.6
        preference = "fast"
        keywords = ["refactor"]
        binding = "smol@2"
        [models."smol@2"]
        gguf = "weights/smol.gguf"
        settings = { context = 2048, sampling = { temperature = 0.7 } }
        tags = ["small"]
        """,
    )
    assert config.server == Server(port=0, allowed_hosts=("podium.local",))
    assert config.pool == Pool(memory_budget_mb=4096.0)
    spec = config.tasks["code-generation"].spec("code-generation", config.selection.strategy)
    assert (spec.criteria.min_quality, spec.criteria.preference, spec.strategy) == (0.6, Preference.FAST, "mine")
    source = config.models["smol@2"].source()
    assert source.provider == "llamacpp"
    assert source.location == str(tmp_path / "weights" / "smol.gguf"), "relative to the file, not to the caller"
    assert source.settings == {"context": 2048, "sampling": {"temperature": 0.7}}


@pytest.mark.parametrize(
    ("entry", "provider", "location", "settings"),
    [
        ('url = "http://127.0.0.1:1/v1"\nremote = "big"', "openai", "http://127.0.0.1:1/v1", {"remote": "big"}),
        ('command = "server --port ${PORT}"', "command", "server --port ${PORT}", {}),
        ('provider = "mine"\nlocation = "anything"', "mine", "anything", {}),
    ],
)
def test_a_model_entry_names_its_provider(tmp_path, entry, provider, location, settings):
    source = read(tmp_path, f"[models.m]\n{entry}\n").models["m"].source()
    assert (source.provider, source.location, dict(source.settings)) == (provider, location, settings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\n\nprot = 1\n", ":3: server.prot: unknown key 'prot'; did you mean 'port'?"),
        ("[sever]\nport = 1\n", ":1: sever: unknown key 'sever'; did you mean 'server'?"),
        ("server.prot = 1\n", ":1: server.prot: unknown key 'prot'; did you mean 'port'?"),
        ("[server]\nport = 'x'\n", ":2: server.port: Expected `int`, got `str`"),
        ("[server]\nport = 65536\n", ":2: server.port: Expected `int` <= 65535"),
        ("[server]\nhost = '0.0.0.0'\nauth = 'off'\n", ":2: server.host: '0.0.0.0' is not a loopback address"),
        ("[server]\nhost = 'example.org'\nauth = 'off'\n", ":2: server.host: 'example.org' is not a loopback address"),
        ("[pool]\nzzz = 1\n", ":2: pool.zzz: unknown key 'zzz'; valid keys: balancing"),
        ("pool = 3\n", ":1: pool: expected a table, got int"),
        (
            "[tasks.a]\npreference = 'quick'\n",
            ":2: tasks.a.preference: Invalid enum value 'quick'; choose balanced, fast,",
        ),
        ("[server]\nauth = 'on'\n", ":2: server.auth: Invalid enum value 'on'; choose auto, required, off"),
        ("[tasks.a]\nbinding = 'smol'\n", ":2: tasks.a.binding: 'smol' is not of the form name@version"),
        (
            "[models.m]\n",
            ":1: models.m: give exactly one of gguf, artifact, ollama, url, command, scripted, provider; found none",
        ),
        ("[models.m]\ngguf = 'a'\nurl = 'b'\n", ":1: models.m: give exactly one of"),
        ("[models.m]\nprovider = 'p'\n", ":1: models.m: 'provider' and 'location' belong together"),
        ("[models.'m@']\ngguf = 'a'\n", ":1: models.m@: a model is named NAME or NAME@VERSION"),
        ("[models.'m@1']\ngguf = 'a'\nversion = '2'\n", ":3: models.m@1.version: '2' contradicts the '1'"),
        ("[selection.weights.w]\nquality = 1\n", ":1: selection.weights.w: missing key 'latency'"),
        (
            "[selection.weights.w]\nquality=0.9\nlatency=0.9\nmemory=0\nreliability=0\nrecency=0\n",
            ":1: selection.weights.w: weights must be >= 0 and sum to 1, these sum to 1.8",
        ),
    ],
)
def test_a_problem_names_file_line_key_and_remedy(tmp_path, text, said):
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(str(tmp_path / "podium.toml") + said)


def test_all_problems_are_reported_at_once(tmp_path):
    assert len(problems(tmp_path, "[server]\nprot = 1\nport = 'x'\n[pool]\nqueue_limit = 0\n")) == 3
    text = (
        "[server]\nprot = 1\n[limits.user]\nrequests = 'often'\n[limits.boss]\nrequests = '1/min'\n"
        "[budgets.b]\nscope = 'task'\nsubject = 'code'\nunit = 'tokens'\nlimit = -1\n[models.m]\nggfu = 'x'\n"
    )
    said = "\n".join(problems(tmp_path, text))
    assert [line.split(": ")[0].rsplit(":", 1)[1] for line in said.splitlines()] == ["2", "13", "11", "4", "5"]
    assert "models.m: give" not in said, "what follows from another problem is not told"


def test_broken_toml_is_reported_with_its_line(tmp_path):
    with pytest.raises(ConfigError, match=r"podium\.toml:2: not valid TOML"):
        read(tmp_path, "[server]\nport = \n")


def test_a_named_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none.toml", home=tmp_path, environ={})
    with pytest.raises(ConfigError, match="no such file"):
        load(home=tmp_path, environ={"PODIUM_CONFIG": str(tmp_path / "none.toml")})


def test_a_file_that_is_not_text_is_an_error(tmp_path):
    (tmp_path / "podium.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(home=tmp_path, environ={})


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path):
    (tmp_path / "podium.toml").write_text("[server]\nport = 1\n[pool]\nqueue_limit = 1\nkeep_warm_days = 1\n")
    environ = {"PODIUM_SERVER__PORT": "2", "PODIUM_POOL__QUEUE_LIMIT": "2", "PODIUM_SERVER__ALLOWED_HOSTS": '["a"]'}
    config = load(home=tmp_path, environ=environ, overrides={"server.port": 3, "server.host": None})
    assert (config.server.port, config.pool.queue_limit, config.pool.keep_warm_days) == (3, 2, 1)
    assert config.server.allowed_hosts == ("a",)


def test_reading_again_keeps_the_command_line(tmp_path, monkeypatch):
    monkeypatch.delenv("PODIUM_CONFIG", raising=False)
    config = read(tmp_path, "[server]\nport = 1\n", overrides={"server.port": 3})
    (tmp_path / "podium.toml").write_text("[server]\nport = 2\n[pool]\nqueue_limit = 9\n")
    again = reread(config)
    assert (again.server.port, again.pool.queue_limit) == (3, 9)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PODIUM_SERVER__PROT", "1", "environment PODIUM_SERVER__PROT: server.prot: unknown key 'prot'; did you mean"),
        ("PODIUM_SEVER__PORT", "1", "environment PODIUM_SEVER__PORT: sever.port: no such section 'sever'; did you"),
        ("PODIUM_SERVER__PORT", "many", "environment PODIUM_SERVER__PORT: server.port: Expected `int`, got `str`"),
    ],
)
def test_a_wrong_environment_variable_is_named(tmp_path, variable, value, said):
    with pytest.raises(ConfigError) as caught:
        load(home=tmp_path, environ={variable: value})
    assert caught.value.message.startswith(said)


def test_text_from_the_environment_stays_text(tmp_path):
    config = load(home=tmp_path, environ={"PODIUM_SELECTION__STRATEGY": "007"})
    assert config.selection.strategy == "007"


def test_home_comes_from_the_environment_else_from_the_platform(tmp_path):
    assert default_home({"PODIUM_HOME": str(tmp_path)}) == tmp_path
    assert default_home({}).name == "podium"


def test_the_home_is_made_for_this_user_only(tmp_path):
    home = prepare_home(tmp_path / "a" / "b")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_home_that_cannot_be_made_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="set PODIUM_HOME"):
        prepare_home(tmp_path / "file" / "home")


def test_equal_readings_differ_in_nothing(tmp_path):
    text = "[tasks.a]\nmin_quality = 0.5\n[models.m]\ngguf = 'x'\nsettings = { threads = 2 }\n"
    assert not difference(read(tmp_path, text), read(tmp_path, text))


def test_the_difference_names_models_tasks_and_keys(tmp_path):
    entry = ModelEntry(url="http://127.0.0.1:1")
    old = Config(home=tmp_path, models={"kept": entry, "gone": entry, "moved": entry}, tasks={"a": TaskEntry()})
    new = Config(
        home=tmp_path,
        models={"kept": entry, "new": entry, "moved": ModelEntry(url="http://127.0.0.1:2")},
        tasks={"a": TaskEntry(min_quality=0.5), "b": TaskEntry()},
        server=Server(port=1),
        pool=Pool(queue_limit=1),
    )
    found = difference(old, new)
    assert (found.models_added, found.models_removed, found.models_changed) == (("new",), ("gone",), ("moved",))
    assert (found.tasks_added, found.tasks_removed, found.tasks_changed) == (("b",), (), ("a",))
    assert (found.live, found.restart) == (("pool.queue_limit",), ("server.port",))


def test_a_new_default_strategy_changes_the_tasks_that_inherit_it(tmp_path):
    tasks = "[tasks.own]\nstrategy = 'classic'\n[tasks.inherits]\n"
    old, new = read(tmp_path, tasks), read(tmp_path, "selection.strategy = 'classic'\n" + tasks)
    assert difference(old, new).tasks_changed == ("inherits",)


def test_the_schema_lists_exactly_the_keys_the_reader_accepts():
    schema = json_schema()
    assert schema["additionalProperties"] is False
    for section, cls in (("Server", Server), ("Pool", Pool), ("TaskEntry", TaskEntry), ("ModelEntry", ModelEntry)):
        definition = schema["$defs"][section]
        assert set(definition["properties"]) == set(cls.__dataclass_fields__)
        assert definition["additionalProperties"] is False
        assert all("description" in key or "$ref" in key for key in definition["properties"].values()), section
    msgspec.json.encode(schema)


def test_lines_are_found_behind_multiline_strings_and_comments():
    text = '# [a]\n[a]\nnote = """\nb = 1\n[c]\n"""\nb = 2\n["x.y"]\nz.w = 1\n'
    assert line_of(text, ("a", "b")) == 7
    assert line_of(text, ("x.y", "z", "w")) == 9
    assert line_of(text, ("a", "missing")) == 2
    assert line_of(text, ("nowhere",)) is None
