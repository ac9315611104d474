"""SQL vector search: an ivfflat index of pgvector, asked through one PostgreSQL connection."""
