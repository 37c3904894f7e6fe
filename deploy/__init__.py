"""How to run the server beyond one process: container, cluster and monitoring files live here."""
