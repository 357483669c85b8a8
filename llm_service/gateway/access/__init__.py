"""Who calls: client keys, certificates and tokens, and what each may do."""
