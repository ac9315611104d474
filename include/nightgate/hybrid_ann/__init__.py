"""Hybrid approximate nearest-neighbour search: HNSW routes, IVFPQ scores, `rerank_pq` decides exactly."""
