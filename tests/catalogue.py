"""What a database's catalogues say of a schema, as texts that can be compared."""

import asyncpg

_RELATIONS = "c.relnamespace = 'public'::regnamespace AND c.relname <> 'alembic_version'"

QUERIES = {
    "tables and storage": f"""
        SELECT c.relname, c.relkind::text, c.relpersistence::text, c.reloptions::text
        FROM pg_class c WHERE {_RELATIONS} AND c.relkind IN ('r', 'p')""",
    "columns": f"""
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text, a.attidentity::text,
               a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid), a.attcollation::regcollation::text
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE {_RELATIONS} AND c.relkind = 'r'""",
    "constraints": f"""
        SELECT c.relname, k.conname, k.contype::text, pg_get_constraintdef(k.oid), k.convalidated::text
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE {_RELATIONS}""",
    "indexes": f"""
        SELECT c.relname, pg_get_indexdef(c.oid), i.indisvalid::text
        FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
        JOIN pg_class t ON t.oid = i.indrelid AND t.relname <> 'alembic_version' WHERE {_RELATIONS}""",
    "sequences": f"""
        SELECT c.relname, format_type(s.seqtypid, NULL), s.seqstart::text, s.seqincrement::text, s.seqmax::text
        FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid WHERE {_RELATIONS}""",
    "enums": """
        SELECT t.typname, array_agg(e.enumlabel ORDER BY e.enumsortorder)::text
        FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid GROUP BY t.typname""",
}

# What only migrations make.
GUARDS = {
    "row security": f"""
        SELECT c.relname, c.relrowsecurity::text, c.relforcerowsecurity::text, p.polname, p.polcmd::text,
               pg_get_expr(p.polqual, c.oid), pg_get_expr(p.polwithcheck, c.oid)
        FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid WHERE {_RELATIONS} AND c.relkind = 'r'""",
    "views": f"""
        SELECT c.relname, c.reloptions::text, pg_get_viewdef(c.oid) FROM pg_class c
        WHERE {_RELATIONS} AND c.relkind IN ('v', 'm')""",
    "triggers": """
        SELECT t.tgname, pg_get_triggerdef(t.oid), t.tgenabled::text FROM pg_trigger t WHERE NOT t.tgisinternal""",
    "functions": """
        SELECT p.oid::regprocedure::text, p.prosecdef::text, p.proconfig::text, p.proacl::text, p.prosrc
        FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
          AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')""",
    # the owner's own are left out: a table that lost a right of another's names them, a fresh one does not
    "rights": """
        SELECT c.relname, NULL, x.grantee::regrole::text, x.privilege_type
        FROM pg_class c CROSS JOIN aclexplode(c.relacl) x
        WHERE c.relnamespace = 'public'::regnamespace AND x.grantee <> c.relowner
        UNION ALL
        SELECT c.relname, a.attname, x.grantee::regrole::text, x.privilege_type
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid CROSS JOIN aclexplode(a.attacl) x
        WHERE c.relnamespace = 'public'::regnamespace AND x.grantee <> c.relowner""",
    "rights on the schema": "SELECT unnest(nspacl)::text FROM pg_namespace WHERE nspname = 'public'",
    "default rights": "SELECT defaclrole::regrole::text, defaclacl::text FROM pg_default_acl",
}


async def read(url: str, queries: dict[str, str] = QUERIES) -> dict[str, list[tuple[str | None, ...]]]:
    """The rows of each query, sorted."""
    connection = await asyncpg.connect(url)
    try:
        return {
            name: sorted((tuple(row) for row in await connection.fetch(query)), key=str)
            for name, query in queries.items()
        }
    finally:
        await connection.close()
