"""Contract tests for people who write their own search spaces, tasks, data sources,
samplers, evaluators and memories.

Subclass a contract class in your test suite and give it the object under test; pytest collects the
inherited tests. Import the modules themselves (``nasseg.testing.spaces``, ``tasks``, ``sources``,
``samplers``, ``evaluators``, ``memories``): they need pytest.
"""
