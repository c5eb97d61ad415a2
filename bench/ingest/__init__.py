"""How fast the edge takes readings in, and how long it takes to acknowledge them."""
