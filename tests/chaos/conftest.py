from tests.engine.conftest import engine_url, prepared_postgres, prepared_sqlite  # noqa: F401
