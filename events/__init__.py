"""The core: event types, states, commands, `decide` and `evolve`. All of it is pure, except `event_log`."""
