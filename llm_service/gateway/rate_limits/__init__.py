"""Rate limits: of callers, once a call; of providers, credentials and models, for each attempt."""
