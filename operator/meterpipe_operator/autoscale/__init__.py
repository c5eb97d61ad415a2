"""How many pods a worker should have: figures from the pods, a pure policy, and the loop between them."""
