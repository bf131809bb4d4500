"""The kernel IR: loops over index spaces, its text, its verifier and the memory plan."""
