"""The vendors' wires as fakes: each speaks one API over HTTP, as strict as its vendor."""
