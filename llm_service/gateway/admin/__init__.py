"""What operators do: providers, their credentials and their models."""
