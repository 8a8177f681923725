"""`make bench`: what is claimed to be fast or small, beside the plain way, in one run."""
