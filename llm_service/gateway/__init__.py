"""What the service does, in domain terms."""
