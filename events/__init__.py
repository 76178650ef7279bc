"""The core: event types, states, commands, `decide` and `evolve`, all pure; only `store` does I/O."""
