"""The first schema: registry, tasks and bindings, swaps, decisions, feedback, evidence, events."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = (
    '''CREATE TABLE aliases (
        alias TEXT NOT NULL,
        target TEXT NOT NULL,
        PRIMARY KEY (alias)
)''',
    '''CREATE TABLE choices (
        digest BLOB NOT NULL,
        content BLOB NOT NULL,
        last_at FLOAT NOT NULL,
        PRIMARY KEY (digest)
)''',
    '''CREATE TABLE decisions (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        request_id TEXT NOT NULL,
        at FLOAT NOT NULL,
        choice BLOB NOT NULL,
        served TEXT NOT NULL,
        propensity FLOAT NOT NULL,
        parent TEXT,
        classified_by TEXT NOT NULL,
        task_confidence FLOAT NOT NULL,
        task TEXT NOT NULL,
        ref TEXT NOT NULL,
        finished_at FLOAT NOT NULL,
        success INTEGER NOT NULL,
        error TEXT,
        streamed INTEGER NOT NULL,
        latency_ms FLOAT NOT NULL,
        ttft_ms FLOAT,
        cost BLOB NOT NULL,
        UNIQUE (id)
)''',
    '''CREATE INDEX ix_decisions_at ON decisions (at)''',
    '''CREATE INDEX ix_decisions_request_id ON decisions (request_id)''',
    '''CREATE TABLE events (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        at FLOAT NOT NULL,
        subject TEXT NOT NULL,
        data TEXT NOT NULL
)''',
    '''CREATE TABLE evidence (
        task TEXT NOT NULL,
        ref TEXT NOT NULL,
        samples INTEGER NOT NULL,
        successes INTEGER NOT NULL,
        latency_ms_sum FLOAT NOT NULL,
        latency_buckets BLOB NOT NULL,
        ttft_ms_sum FLOAT NOT NULL,
        ttft_samples INTEGER NOT NULL,
        tokens_per_s_sum FLOAT NOT NULL,
        tokens_per_s_samples INTEGER NOT NULL,
        quality_sum FLOAT NOT NULL,
        quality_samples INTEGER NOT NULL,
        memory_mb_max FLOAT,
        cpu_ms_sum FLOAT NOT NULL,
        cpu_samples INTEGER NOT NULL,
        last_at FLOAT,
        PRIMARY KEY (task, ref)
)''',
    '''CREATE TABLE feedback (
        decision_id TEXT NOT NULL,
        source TEXT NOT NULL,
        request_id TEXT NOT NULL,
        task TEXT NOT NULL,
        ref TEXT NOT NULL,
        score FLOAT NOT NULL,
        at FLOAT NOT NULL,
        comment TEXT,
        PRIMARY KEY (decision_id, source)
)''',
    '''CREATE INDEX ix_feedback_request_id ON feedback (request_id)''',
    '''CREATE TABLE swaps (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        task TEXT NOT NULL,
        kind TEXT NOT NULL,
        "before" TEXT,
        "after" TEXT NOT NULL,
        state TEXT NOT NULL,
        requested_at FLOAT NOT NULL,
        "by" TEXT NOT NULL,
        reason TEXT NOT NULL,
        finished_at FLOAT,
        error TEXT,
        compatibility TEXT,
        load_ms FLOAT,
        swap_ms FLOAT,
        UNIQUE (id)
)''',
    '''CREATE INDEX ix_swaps_task ON swaps (task)''',
    '''CREATE TABLE tasks (
        name TEXT NOT NULL,
        spec TEXT NOT NULL,
        PRIMARY KEY (name)
)''',
    '''CREATE TABLE versions (
        ref TEXT NOT NULL,
        name TEXT NOT NULL,
        version TEXT NOT NULL,
        provider TEXT NOT NULL,
        location TEXT NOT NULL,
        settings TEXT NOT NULL,
        digest TEXT NOT NULL,
        architecture TEXT,
        parameters INTEGER,
        quantization TEXT,
        context_length INTEGER,
        size_bytes INTEGER,
        kv_bytes_per_token INTEGER,
        chat_template TEXT,
        licence TEXT,
        declared_version TEXT,
        capabilities TEXT NOT NULL,
        category TEXT,
        tags TEXT NOT NULL,
        parent TEXT,
        specialisation TEXT,
        created_at FLOAT NOT NULL,
        created_by TEXT NOT NULL,
        status TEXT NOT NULL,
        activated_at FLOAT,
        PRIMARY KEY (ref),
        CONSTRAINT uq_versions_name_version UNIQUE (name, version),
        CONSTRAINT ck_versions_ref CHECK (ref = name || '@' || version),
        CONSTRAINT ck_versions_status CHECK (status IN ('registered', 'ready', 'active', 'deprecated', 'retired'))
)''',
    '''CREATE TABLE bindings (
        task TEXT NOT NULL,
        ref TEXT NOT NULL,
        previous TEXT NOT NULL,
        since FLOAT NOT NULL,
        "by" TEXT NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (task),
        FOREIGN KEY(ref) REFERENCES versions (ref)
)''',
    '''CREATE TABLE profiles (
        ref TEXT NOT NULL,
        load_s FLOAT,
        memory_bytes INTEGER,
        ttft_ms FLOAT,
        tokens_per_s FLOAT,
        latency_ms FLOAT,
        measured_at FLOAT,
        PRIMARY KEY (ref),
        FOREIGN KEY(ref) REFERENCES versions (ref)
)''',
    '''CREATE TABLE transitions (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        ref TEXT NOT NULL,
        "before" TEXT NOT NULL,
        "after" TEXT NOT NULL,
        at FLOAT NOT NULL,
        "by" TEXT NOT NULL,
        reason TEXT NOT NULL,
        FOREIGN KEY(ref) REFERENCES versions (ref)
)''',
    '''CREATE INDEX ix_transitions_ref ON transitions (ref)''',
    '''CREATE TRIGGER versions_exist_once BEFORE INSERT ON versions WHEN EXISTS (SELECT 1 FROM versions WHERE ref = NEW.ref) BEGIN SELECT RAISE(ABORT, 'this version exists already'); END''',
    '''CREATE TRIGGER versions_start_registered BEFORE INSERT ON versions WHEN NEW.status <> 'registered' OR NEW.activated_at IS NOT NULL BEGIN SELECT RAISE(ABORT, 'a version starts as registered'); END''',
    '''CREATE TRIGGER versions_shadow_no_alias BEFORE INSERT ON versions WHEN EXISTS (SELECT 1 FROM aliases WHERE alias = NEW.name) BEGIN SELECT RAISE(ABORT, 'an alias has this name'); END''',
    '''CREATE TRIGGER versions_never_change BEFORE UPDATE ON versions WHEN OLD.ref IS NOT NEW.ref OR OLD.name IS NOT NEW.name OR OLD.version IS NOT NEW.version OR OLD.provider IS NOT NEW.provider OR OLD.location IS NOT NEW.location OR OLD.settings IS NOT NEW.settings OR OLD.digest IS NOT NEW.digest OR OLD.architecture IS NOT NEW.architecture OR OLD.parameters IS NOT NEW.parameters OR OLD.quantization IS NOT NEW.quantization OR OLD.context_length IS NOT NEW.context_length OR OLD.size_bytes IS NOT NEW.size_bytes OR OLD.kv_bytes_per_token IS NOT NEW.kv_bytes_per_token OR OLD.chat_template IS NOT NEW.chat_template OR OLD.licence IS NOT NEW.licence OR OLD.declared_version IS NOT NEW.declared_version OR OLD.capabilities IS NOT NEW.capabilities OR OLD.category IS NOT NEW.category OR OLD.tags IS NOT NEW.tags OR OLD.parent IS NOT NEW.parent OR OLD.specialisation IS NOT NEW.specialisation OR OLD.created_at IS NOT NEW.created_at OR OLD.created_by IS NOT NEW.created_by BEGIN SELECT RAISE(ABORT, 'a registered version never changes'); END''',
    '''CREATE TRIGGER versions_change_status_by_transition BEFORE UPDATE ON versions WHEN OLD.status IS NOT NEW.status AND NOT EXISTS (SELECT 1 FROM transitions WHERE id = (SELECT max(id) FROM transitions WHERE ref = NEW.ref) AND before = OLD.status AND after = NEW.status) BEGIN SELECT RAISE(ABORT, 'a status changes only with a recorded transition'); END''',
    '''CREATE TRIGGER versions_activated_at_is_recorded BEFORE UPDATE ON versions WHEN OLD.activated_at IS NOT NEW.activated_at AND (OLD.status IS NEW.status OR NEW.status <> 'active') BEGIN SELECT RAISE(ABORT, 'activated_at changes only on activation'); END''',
    '''CREATE TRIGGER versions_stay BEFORE DELETE ON versions BEGIN SELECT RAISE(ABORT, 'a version is never deleted, retire it'); END''',
    '''CREATE TRIGGER transitions_start_at_status BEFORE INSERT ON transitions WHEN NEW.before IS NOT (SELECT status FROM versions WHERE ref = NEW.ref) BEGIN SELECT RAISE(ABORT, 'the version is not in that status'); END''',
    '''CREATE TRIGGER transitions_are_legal BEFORE INSERT ON transitions WHEN NOT ((NEW.before = 'registered' AND NEW.after IN ('ready', 'retired')) OR (NEW.before = 'ready' AND NEW.after IN ('active', 'retired')) OR (NEW.before = 'active' AND NEW.after = 'deprecated') OR (NEW.before = 'deprecated' AND NEW.after IN ('active', 'retired')) OR (NEW.before = 'retired' AND NEW.after = 'active' AND trim(NEW.reason) <> '')) BEGIN SELECT RAISE(ABORT, 'illegal transition'); END''',
    '''CREATE TRIGGER transitions_append BEFORE INSERT ON transitions WHEN EXISTS (SELECT 1 FROM transitions WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'transitions are append only'); END''',
    '''CREATE TRIGGER transitions_never_change BEFORE UPDATE ON transitions BEGIN SELECT RAISE(ABORT, 'transitions are append only'); END''',
    '''CREATE TRIGGER transitions_stay BEFORE DELETE ON transitions BEGIN SELECT RAISE(ABORT, 'transitions are append only'); END''',
    '''CREATE TRIGGER aliases_shadow_no_model BEFORE INSERT ON aliases WHEN EXISTS (SELECT 1 FROM versions WHERE name = NEW.alias) BEGIN SELECT RAISE(ABORT, 'a model has this name'); END''',
)


def upgrade() -> None:
    """Create everything."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")

