"""The evidence: every setting on every data set and seed, resumably. `make reproduce` runs it all."""
