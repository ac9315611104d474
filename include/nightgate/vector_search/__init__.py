"""How a vector search is measured, written once: tuning, latency, load, recall and hardness, of an index in this process
(`strategy.Strategy`) as of a server (`store.VectorStore`)."""
