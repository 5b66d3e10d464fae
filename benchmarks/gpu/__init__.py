"""Everything that is to be measured on a GPU, in the order of its worth, in a given time: `make gpu`."""
