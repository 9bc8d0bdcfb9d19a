"""Contract tests for people who write their own search spaces, evaluators and searchers.

Subclass a contract class in your test suite and give it the object under test; pytest collects the
inherited tests. Import the modules themselves (``nasseg.testing.spaces``): they need pytest.
"""
