-- Runs once, when the volume is empty.
CREATE EXTENSION IF NOT EXISTS vector;
