"""envsync as a library: values, a client, and the one place where its parts are put together."""
