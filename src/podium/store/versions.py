"""Rows of versions, transitions, profiles and aliases. Functions over a connection; commits nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.domain.model import Category, Facts, Lifecycle, ModelVersion, Profile, Provenance, Source, Transition
from podium.errors import Conflict
from podium.store import schema
from podium.store.packing import from_json, frozen, to_json

_PROFILE_COLUMNS = ("load_s", "memory_bytes", "ttft_ms", "tokens_per_s", "latency_ms", "measured_at")


def add(connection: Connection, version: ModelVersion, by: str) -> None:
    """Insert a version. The database refuses one that exists or does not start as registered."""
    facts = version.facts
    connection.execute(
        insert(schema.versions).values(
            ref=version.ref,
            name=version.name,
            version=version.version,
            provider=version.source.provider,
            location=version.source.location,
            settings=to_json(version.source.settings),
            digest=facts.digest,
            architecture=facts.architecture,
            parameters=facts.parameters,
            quantization=facts.quantization,
            context_length=facts.context_length,
            size_bytes=facts.size_bytes,
            kv_bytes_per_token=facts.kv_bytes_per_token,
            chat_template=facts.chat_template,
            licence=facts.licence,
            declared_version=facts.declared_version,
            capabilities=to_json(facts.capabilities),
            category=version.category,
            tags=to_json(version.tags),
            parent=version.parent,
            specialisation=version.specialisation,
            created_at=version.created_at,
            created_by=by,
            status=version.status,
            activated_at=version.activated_at,
        )
    )
    about = version.provenance
    if about != Provenance() or facts.evidence:
        connection.execute(
            insert(schema.provenance).values(
                ref=version.ref,
                licence=about.licence,
                training_data=about.training_data,
                hardware=to_json(about.hardware),
                evidence=to_json(facts.evidence),
            )
        )


def remove(connection: Connection, ref: str) -> None:
    """Delete a version that never got past its registration, with the orders given for it. The database refuses others."""
    for table in (schema.directives, schema.versions, schema.provenance):
        connection.execute(delete(table).where(table.c.ref == ref))


def move(connection: Connection, transition: Transition, keep_until: float | None) -> None:
    """Record a transition, change the status, and note (or forget) until when the version is kept warm.

    Raises ``Conflict`` when the version is not in ``before``.
    """
    table = schema.versions
    status = connection.execute(select(table.c.status).where(table.c.ref == transition.ref)).scalar()
    if status != transition.before:
        raise Conflict(
            f"{transition.ref} is {status or 'not registered'}, not {transition.before}: "
            f"somebody else changed it meanwhile; look again and repeat what is still needed"
        )
    connection.execute(
        insert(schema.transitions).values(
            ref=transition.ref,
            before=transition.before,
            after=transition.after,
            at=transition.at,
            by=transition.by,
            reason=transition.reason,
        )
    )
    change: dict[str, object] = {"status": transition.after}
    if transition.after is Lifecycle.ACTIVE:
        change["activated_at"] = transition.at
    connection.execute(update(table).where(table.c.ref == transition.ref).values(**change))
    connection.execute(delete(schema.retention).where(schema.retention.c.ref == transition.ref))
    if keep_until is not None:
        connection.execute(insert(schema.retention).values(ref=transition.ref, keep_until=keep_until))


def put_profile(connection: Connection, ref: str, profile: Profile) -> None:
    """Insert or replace the measured profile of a version."""
    values = {name: getattr(profile, name) for name in _PROFILE_COLUMNS}
    statement = upsert(schema.profiles).values(ref=ref, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["ref"], set_=values))


def put_alias(connection: Connection, alias: str, target: str | None) -> None:
    """Insert, replace or (``None``) remove an alias."""
    if target is None:
        connection.execute(delete(schema.aliases).where(schema.aliases.c.alias == alias))
        return
    statement = upsert(schema.aliases).values(alias=alias, target=target)
    connection.execute(statement.on_conflict_do_update(index_elements=["alias"], set_={"target": target}))


def all_versions(connection: Connection) -> tuple[ModelVersion, ...]:
    """Every version, oldest first."""
    table = schema.versions
    more = schema.provenance
    columns = (more.c.licence.label("declared_licence"), more.c.training_data, more.c.hardware, more.c.evidence)
    joined = table.outerjoin(more, more.c.ref == table.c.ref)
    rows = connection.execute(select(table, *columns).select_from(joined).order_by(table.c.created_at, table.c.ref))
    return tuple(_version(row) for row in rows)


def all_profiles(connection: Connection) -> Mapping[str, Profile]:
    """Profiles by ref."""
    return {
        row.ref: Profile(**{name: getattr(row, name) for name in _PROFILE_COLUMNS})
        for row in connection.execute(select(schema.profiles))
    }


def all_retention(connection: Connection) -> Mapping[str, float]:
    """Until when (Unix seconds) deprecated versions are kept warm, by ref."""
    return {row.ref: row.keep_until for row in connection.execute(select(schema.retention))}


def all_aliases(connection: Connection) -> Mapping[str, str]:
    """Targets by alias."""
    return {row.alias: row.target for row in connection.execute(select(schema.aliases))}


def transitions_of(connection: Connection, ref: str) -> tuple[Transition, ...]:
    """The recorded transitions of one version, oldest first."""
    table = schema.transitions
    rows = connection.execute(select(table).where(table.c.ref == ref).order_by(table.c.id))
    return tuple(
        Transition(
            ref=row.ref,
            before=Lifecycle(row.before),
            after=Lifecycle(row.after),
            at=row.at,
            by=row.by,
            reason=row.reason,
        )
        for row in rows
    )


def _version(row: Row[Any]) -> ModelVersion:
    return ModelVersion(
        name=row.name,
        version=row.version,
        source=Source(provider=row.provider, location=row.location, settings=frozen(from_json(row.settings))),
        facts=Facts(
            digest=row.digest,
            architecture=row.architecture,
            parameters=row.parameters,
            quantization=row.quantization,
            context_length=row.context_length,
            size_bytes=row.size_bytes,
            kv_bytes_per_token=row.kv_bytes_per_token,
            chat_template=row.chat_template,
            licence=row.licence,
            declared_version=row.declared_version,
            capabilities=frozenset(from_json(row.capabilities)),
            evidence=tuple((what, how) for what, how in from_json(row.evidence)) if row.evidence else (),
        ),
        category=None if row.category is None else Category(row.category),
        tags=frozenset(from_json(row.tags)),
        parent=row.parent,
        specialisation=row.specialisation,
        provenance=Provenance(
            licence=row.declared_licence,
            training_data=row.training_data,
            hardware=frozenset(from_json(row.hardware)) if row.hardware else frozenset(),
        ),
        created_at=row.created_at,
        status=Lifecycle(row.status),
        activated_at=row.activated_at,
    )
