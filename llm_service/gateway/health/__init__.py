"""How targets are doing, and what follows: whom to pass over, how much to let in."""
