"""One gRPC service through which every backend and agent of a company reaches every LLM vendor."""
