"""The inference engine: scheduler, runner, worker and its asyncio client."""
