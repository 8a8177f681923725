"""`make demo`: the product from end to end, on a Hub that runs on loopback."""
