import pytest


@pytest.fixture(scope="session")
def postgres_server():
    pytest.importorskip(
        "psycopg", reason="psycopg is not installed: pip install 'trsr[postgres]'", exc_type=ImportError
    )
    from postgres_server import PostgresServer, why_not

    reason = why_not()
    if reason:
        pytest.skip(reason)
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """An empty place for a store, of each kind."""
    if request.param == "sqlite":
        return tmp_path / "runs" / "calls.sqlite"
    return request.getfixturevalue("postgres_server").new_database()
