"""Amazon Bedrock's Converse API: one form of request and answer for every family of models."""
