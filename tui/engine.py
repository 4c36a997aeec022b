"""The client of the engine process, still to come."""


class EngineClient:
    """Still to come."""

    async def close(self) -> None:
        """Nothing yet."""
