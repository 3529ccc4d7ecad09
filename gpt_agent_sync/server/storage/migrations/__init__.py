"""The migrations of the tables: `Alembic <https://alembic.sqlalchemy.org>`_ runs them."""
