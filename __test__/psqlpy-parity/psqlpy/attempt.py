"""What a call comes to when it may fail."""


async def attempt(call):
    """The result of a call, or "error": which class the error has differs on purpose."""
    try:
        return await call
    # Some of psqlpy's errors are no `Exception`: they are panics.
    except BaseException:
        return "error"
