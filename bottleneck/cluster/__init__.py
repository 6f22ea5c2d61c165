"""Many machines at once: ranges of rows are extracted, and questions about shards answered."""
