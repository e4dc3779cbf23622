"""Reading a config, spelling out a short one, and telling what is wrong with it."""
